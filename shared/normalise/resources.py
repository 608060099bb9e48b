"""What a resource id says of its resource: the group, the type and the name.

`/subscriptions/S/resourceGroups/GROUP/providers/NAMESPACE/TYPE/NAME`, where `/TYPE/NAME` may come again for what
stands inside the resource, and `/providers/NAMESPACE/TYPE/NAME` for what extends it. Case does not matter.
"""

import polars as pl

_PLAIN = (
    r"^/(?i-u:subscriptions)/[^/]+/(?i-u:resourcegroups)/(?P<group>[^/]+)/(?i-u:providers)/(?P<kind>[^/]+/[^/]+)"
    r"/(?P<a>[^/]+)(?:/(?P<b>[^/]+)(?:/(?P<c>[^/]+)(?:/(?P<d>[^/]+)(?:/(?P<e>[^/]+))?)?)?)?$"
)
"""Nearly all ids are such, and one look at each byte is enough for it. Those below take many times as long."""

_GROUP = r"(?i-u:/resourcegroups/)([^/]+)"
_KIND = r"(?s:.*)(?i-u:/providers/)([^/]+/[^/]+)/[^/]+"
_NAME = r"(?i-u:/providers/)(?s:.+)/([^/]+)/?$"


def resource_parts(ids: pl.Series) -> pl.DataFrame:
    """Give `group`, `kind` (NAMESPACE/TYPE; of what extends a resource, its own) and `name`, null where none is told.

    All three are as they were returned.
    """
    told = (
        ids.alias("id").to_frame().select("id", part=pl.col("id").str.extract_groups(_PLAIN)).unnest("part")
    )
    # Any of the first parts may be the one that leads to what extends the resource.
    leads = pl.any_horizontal(pl.col("kind", "a", "b").str.contains("(?i-u:providers)"))
    odd = told.select(rows=((pl.col("id") != "") & (pl.col("kind").is_null() | leads)).arg_true()).to_series()
    plain = told.select("group", "kind", name=pl.coalesce("e", "d", "c", "b", "a"))
    if not len(odd):
        return plain
    others = any_parts(told["id"].gather(odd))
    return plain.select(plain[name].scatter(odd, others[name]) for name in plain.columns)


def any_parts(ids: pl.Series) -> pl.DataFrame:
    """Do what `resource_parts` does in the one way that knows every id."""
    one = pl.col("id")
    return (
        ids.alias("id")
        .to_frame()
        .select(
            group=one.str.extract(_GROUP, 1), kind=one.str.extract(_KIND, 1), name=one.str.extract(_NAME, 1)
        )
    )
