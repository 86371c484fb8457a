"""The gaps in a zygote's memory, filled before it forks: what an attempt allocates lies on pages of its own, side by side.

Imports and the rehearsal leave gaps all over. An attempt that allocates in a gap copies a whole page of its zygote for it.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["filled_gaps"]

# CPython's own allocator: objects of one size (in steps of 16 bytes, up to 512) share a pool of 16 KiB behind a small header.
_POOL, _HEADER, _STEP, _SMALL = 1 << 14, 48, 16, 512
_ALMOST = 8  # blocks of an empty pool that temporary objects of ours may hold
_EMPTY_BYTES = bytes.__basicsize__
# The C library's allocator takes all larger ones; above the last of these sizes it asks the kernel.
_LARGE = (65_536, 32_768, 16_384, 8_192, 4_096, 2_048, 1_536, *range(1_024, _SMALL, -_STEP))
_MOST = 400_000


def filled_gaps() -> tuple[object, ...]:
    """Objects that fill the gaps for as long as they are kept."""
    # Room for all of them first: a list that grows would make gaps of its own.
    kept: list[object] = [None] * _MOST
    count = 0
    for size in range(_SMALL, 0, -_STEP):
        count = _fill_pools(size, kept, count)
    return tuple(kept[: _fill_rest(kept, count)])


def _fill_pools(size: int, kept: list[object], count: int) -> int:
    """Keep objects of this size until a whole empty pool was filled with them, and give that pool back."""
    whole, pool, first = (_POOL - _HEADER) // size - _ALMOST, 0, count
    while count < _MOST and count - first < whole:
        made = _small(size, count)
        if id(made) & -_POOL != pool:
            pool, first = id(made) & -_POOL, count
        kept[count] = made
        count += 1
    kept[first:count] = [None] * (count - first)
    return first


def _small(size: int, number: int) -> object:
    if size > _EMPTY_BYTES:
        return bytes(size - _EMPTY_BYTES)
    return object() if size == _STEP else 1_000_000 + number


def _fill_rest(kept: list[object], count: int) -> int:
    """Keep larger objects of each size until one has to be put beyond all others."""
    beyond = id(bytes(100_000))
    for made in _larger(beyond):
        if count == _MOST:
            break
        kept[count] = made
        count += 1
    return count


def _larger(beyond: int) -> Iterator[bytes]:
    for size in _LARGE:
        while id(made := bytes(size - _EMPTY_BYTES)) < beyond:
            yield made
