"""What the product's paths are compared with: the plain way in which such tools are written.

Both read a page's rows, make each row's key from its dimensions, hash it, and keep the rows whose hash was not seen
before. Neither checks the answer's shape, normalises anything, keeps amounts exact or writes a file.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import polars as pl

AMOUNTS = ("Cost", "UsageQuantity")


def row_by_row(bodies: Sequence[bytes]) -> int:
    """Read pages with a dictionary, a formatted key and a digest for each row, and a set of what was seen."""
    seen: set[str] = set()
    rows: list[dict[str, Any]] = []
    for body in bodies:
        properties = json.loads(body)["properties"]
        names = [column["name"] for column in properties["columns"]]
        for values in properties["rows"]:
            row = dict(zip(names, values, strict=True))
            key = "|".join(f"{name}={row[name]}" for name in names if name not in AMOUNTS)
            digest = hashlib.sha256(key.encode()).hexdigest()
            if digest not in seen:
                seen.add(digest)
                rows.append({**row, "hash": digest})
    return len(rows)


def map_elements(bodies: Sequence[bytes]) -> int:
    """Read pages into frames, and hash the same key with a Python function for each element."""
    seen = pl.DataFrame(schema={"hash": pl.String})
    rows = 0
    for body in bodies:
        properties = json.loads(body)["properties"]
        names = [column["name"] for column in properties["columns"]]
        frame = pl.DataFrame(properties["rows"], schema=names, orient="row", infer_schema_length=None)
        parts = [
            pl.format(f"{name}={{}}", pl.col(name).fill_null("None")) for name in names if name not in AMOUNTS
        ]
        frame = frame.with_columns(
            pl.concat_str(parts, separator="|")
            .map_elements(lambda key: hashlib.sha256(key.encode()).hexdigest(), return_dtype=pl.String)
            .alias("hash")
        )
        fresh = frame.join(seen, on="hash", how="anti")
        seen = pl.concat([seen, fresh.select("hash")])
        rows += len(fresh)
    return rows
