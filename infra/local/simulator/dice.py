"""Decisions that depend on a seed and on what is decided, never on the order in which requests arrive."""

from hashlib import blake2b

_WHOLE = 1 << 64


def number(*parts: object) -> int:
    """Give a 64-bit number that is always the same for the same parts."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def fraction(*parts: object) -> float:
    """Give a number in [0, 1) that is always the same for the same parts."""
    return number(*parts) / _WHOLE
