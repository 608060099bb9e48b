"""The row of a publication whose publisher died after the manifest: as it was announced before that.

Readers saw that publication, so it is the last one, and whoever publishes next must begin there: what it left, since
when something is known of the day, which readings its rows are of. A manifest is output and could have been edited;
so its publisher announces what its row will say, with the manifest's hash, and the row is made of that.
"""

import hashlib
from dataclasses import replace

from shared.days import Announced
from shared.engine import Engine
from shared.ledger.files import PublishedFiles, manifest_path, subscription_of
from shared.ledger.hold import forget
from shared.ledger.left import as_described
from shared.ledger.standing import Standing, ledger_of
from shared.storage.errors import Conflict


async def restore_row(engine: Engine, files: PublishedFiles, standing: Standing) -> bool:
    """Save the row of the publication that was announced and has its manifest, and tell whether there was one.

    Raises:
        Conflict: somebody else, maybe that publisher itself, saved the row or wrote a file meanwhile.
        UnreadableError: what was announced, or a ledger file, cannot be read.
    """
    before, etag = standing.publication, standing.manifest_etag
    if etag is None or (before is not None and before.manifest_etag == etag):
        return False
    announced = await engine.days.announced(standing.metric, standing.day)
    if announced is None or not await _is_published(engine, standing, announced, etag):
        return False
    if before is None and not await _is_whole(files, standing, announced):
        # Somebody removed the row, so that the day begins anew without what is gone.
        return False
    etag_before = None if before is None else before.etag
    row = replace(announced.publication, manifest_etag=etag, etag=etag_before)
    await engine.days.save_publication(row)
    await forget(engine, before)
    return True


async def _is_published(engine: Engine, standing: Standing, announced: Announced, etag: str) -> bool:
    """Tell whether the manifest that lies there is the one that was announced over the publication as it stands.

    Not over any other: whoever takes back what another wrote holds the day first (`shared.ledger.hold`).
    """
    before = standing.publication
    if before is not None and announced.over != before.name:
        return False
    path = manifest_path(standing.metric, standing.day)
    blob = await engine.storage.blobs.get(engine.settings.container, path, if_match=etag)
    if blob is None:
        raise Conflict(path)
    return hashlib.sha256(blob.data).hexdigest() == announced.manifest_sha256


async def _is_whole(files: PublishedFiles, standing: Standing, announced: Announced) -> bool:
    """Tell whether every ledger file that was announced can be found again."""
    ledger, described = await ledger_of(files, standing)
    found = as_described(standing, ledger, described, announced.publication)
    paths = (file.path for file in announced.publication.files)
    named = (subscription_of(path, standing.metric, standing.day) for path in paths)
    return found.keys() >= {*named} - {None}
