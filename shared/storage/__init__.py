"""Azure Storage, the only rooms of the engine that talk to it.

`Storage` holds one account. `connection` reads where it is, `tables`, `blobs` and `queues` are thin adapters
over the SDK, whose clients are imported on first use, `packing` spreads bytes over a row, and `errors` draws
the tree of what can go wrong.
"""

from shared.connection import (
    ConnectionProblems,
    StorageConnection,
    connection_name,
    storage_connection,
)
from shared.storage.account import Storage
from shared.storage.blobs import Blob, BlobItem, Blobs
from shared.storage.errors import Busy, Conflict, Missing, Refused, StorageError, TooLarge, Unavailable
from shared.storage.packing import pack, pack_json, unpack, unpack_json
from shared.storage.queues import Message, Queues
from shared.storage.tables import Delete, Insert, Operation, Replace, Row, Tables, Upsert, Value, quoted

__all__ = [
    "Blob",
    "BlobItem",
    "Blobs",
    "Busy",
    "Conflict",
    "ConnectionProblems",
    "Delete",
    "Insert",
    "Message",
    "Missing",
    "Operation",
    "Queues",
    "Refused",
    "Replace",
    "Row",
    "Storage",
    "StorageConnection",
    "StorageError",
    "Tables",
    "TooLarge",
    "Unavailable",
    "Upsert",
    "Value",
    "connection_name",
    "pack",
    "pack_json",
    "quoted",
    "storage_connection",
    "unpack",
    "unpack_json",
]
