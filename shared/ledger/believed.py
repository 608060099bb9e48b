"""What is believed of a day now: the rows of each scope's one current reading, from where they lie.

A reading that was published stands in the ledger, in the current rows of its x_SourceScope; one that was not
lies in the staged pages of its generation. The ledger stands for a reading only as long as its files are those
that the publication left: a publisher that died half-way has left others, and then the staged pages count.
"""

from collections.abc import Mapping
from datetime import date

import polars as pl

from shared.days import Pointer, Publication
from shared.engine import Engine
from shared.ledger.columns import STAGED
from shared.ledger.standing import Standing
from shared.registry.pages import staged_on
from shared.runs import registry_partition
from shared.staging import StagedPageMissingError

SOURCED = {**STAGED, "x_SourceScope": pl.String()}
"""Staged rows with the scope (lower case) that said them."""


async def believed(engine: Engine, standing: Standing, ledger: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Give the rows of every scope's reading, shadowed ones included where their pages are still there.

    `ledger` holds the day's partitions by subscription.

    Raises:
        StagedPageMissingError: a reading that was never published has lost a page.
    """
    publication, day, intact = standing.publication, standing.day, standing.ledger_intact
    frames = [pl.DataFrame(schema=SOURCED)]
    for pointer in standing.pointers.values():
        if pointer.reading is None or not pointer.reading.records:
            continue
        stands = intact and publication is not None and _stands(pointer, publication)
        if stands and publication is not None and pointer.key not in publication.shadowed:
            frames.append(_from_ledger(day, pointer, ledger))
            continue
        try:
            frames.append(await _from_pages(engine, day, pointer))
        except StagedPageMissingError:
            if not stands:
                raise
            # What others shadow is gone with its pages; what counted of it stands in the ledger.
            frames.append(_from_ledger(day, pointer, ledger))
    return pl.concat(frames)


def _stands(pointer: Pointer, publication: Publication) -> bool:
    reading = pointer.reading
    _, digest, shape, _ = publication.view.get(pointer.key, ("", "", "", ""))
    return reading is not None and (digest, shape) == (reading.digest, reading.shape)


def _from_ledger(day: date, pointer: Pointer, ledger: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    scope = pointer.scope.lower()
    current = pl.col("x_ValidTo").is_null() & (pl.col("x_SourceScope") == scope)
    frames = [pl.DataFrame(schema=SOURCED)]
    for subscription, frame in ledger.items():
        rows = frame.filter(current)
        if len(rows):
            frames.append(
                rows.with_columns(usage_date=pl.lit(day), subscription_id=pl.lit(subscription)).select(
                    *SOURCED
                )
            )
    return pl.concat(frames)


async def _from_pages(engine: Engine, day: date, pointer: Pointer) -> pl.DataFrame:
    reading = pointer.reading
    if reading is None:
        return pl.DataFrame(schema=SOURCED)
    partition = registry_partition(reading.run, reading.slice, reading.generation)
    names = await staged_on(engine.storage.tables, partition, day)
    rows = await engine.staging.read(names, day)
    if len(rows) != reading.records:
        raise StagedPageMissingError(f"{partition}: {len(rows)} of {reading.records} rows of {day} are left")
    return rows.with_columns(x_SourceScope=pl.lit(pointer.scope.lower()))
