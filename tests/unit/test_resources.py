"""Resource ids: what they name, and the quick way beside the one that knows every id."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.normalise.resources import any_parts, resource_parts

GROUP = "/subscriptions/0b5e/resourceGroups/RG-Prod"
SERVER = f"{GROUP}/providers/Microsoft.Sql/servers/S1"

pieces = st.sampled_from(
    [
        "/",
        "a",
        "\n",
        "/providers/",
        "Providers/",
        "b/",
        "/c",
        "/providers",
        "/x/y",
        GROUP,
        f"{SERVER}/databases/d",
    ]
)


@given(st.lists(st.lists(pieces, max_size=6).map("".join), max_size=20))
@example([f"{SERVER}/providers/Microsoft.Insights/components/i", f"{GROUP}/providers/providers/a/b/c"])
@example([f"{GROUP}/providers/a/providers/b/c/d", f"{GROUP}/Providers/a/b/providers/c/d/e/f"])
def test_plain_ids_are_read_as_any_other(ids: list[str]) -> None:
    """GIVEN any id THEN the quick way gives what the expressions give that know them all."""
    series = pl.Series("id", [*ids, None], dtype=pl.String)

    assert resource_parts(series).equals(any_parts(series))


@pytest.mark.parametrize(
    ("one", "group", "kind", "name"),
    [
        (SERVER, "RG-Prod", "Microsoft.Sql/servers", "S1"),
        (f"{SERVER}/databases/db", "RG-Prod", "Microsoft.Sql/servers", "db"),
        (f"{SERVER}/", "RG-Prod", "Microsoft.Sql/servers", "S1"),
        (f"{SERVER}/providers/Microsoft.Insights/alerts/up", "RG-Prod", "Microsoft.Insights/alerts", "up"),
        (SERVER.replace("providers", "PROVIDERS"), "RG-Prod", "Microsoft.Sql/servers", "S1"),
        (
            "/subscriptions/0b5e/providers/Microsoft.Security/pricings/p",
            None,
            "Microsoft.Security/pricings",
            "p",
        ),
        (GROUP, "RG-Prod", None, None),
        ("", None, None, None),
        ("no id", None, None, None),
    ],
)
def test_an_id_names_group_type_and_name(
    one: str, group: str | None, kind: str | None, name: str | None
) -> None:
    """The type is that of the outermost resource, or of what extends it; the name stands last."""
    assert resource_parts(pl.Series("id", [one])).row(0) == (group, kind, name)
