"""`verify`: the published files against their manifests, day by day."""

from typing import Any

from shared.cli import differences
from shared.cli.arguments import Asked
from shared.cli.output import DONE, NOT_RECONCILED, print_json
from shared.cli.ranges import range_of
from shared.engine import Engine
from shared.ledger.verify import verify as verified
from shared.scopes import Scope


async def verify(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:  # noqa: ARG001 - as every command
    """Print what differs and how much was compared; exit with 2 where anything differs."""
    first, last = range_of(engine, asked)
    days = files = rows = 0
    found: list[dict[str, Any]] = []
    async for checked in verified(engine.storage.blobs, engine.settings.container, first, last):
        days, files, rows = days + 1, files + checked.files, rows + checked.rows
        for finding in checked.findings:
            found.append(differences.described(checked.metric, checked.day, finding))
            if not asked.json:
                print(differences.line(finding), flush=True)
    if asked.json:
        print_json(
            {
                "from": first.isoformat(),
                "to": last.isoformat(),
                "days": days,
                "files": files,
                "rows": rows,
                "differences": found,
            }
        )
    else:
        said = f"{len(found)} differences" if found else "all as their manifests say"
        print(f"{days} days from {first} to {last}, {files} files, {rows:,} rows: {said}")
    return NOT_RECONCILED if found else DONE
