"""Gzip in pieces that are compressed on their own and put together for each scrape.

Browsers and curl read only the first member of a gzip file, so there is one: raw deflate of each piece, ended by a full
flush, which makes it independent of what precedes it; at the end one checksum and one length for all.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

_LEVEL = 1
_RAW = -zlib.MAX_WBITS  # zlib's number for deflate without a header
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # gzip, deflate, no name and no time, fastest, any system
_GROUP = 2**14  # bytes: what is smaller is compressed together with what follows


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Piece:
    deflated: bytes


@dataclass(frozen=True, slots=True)
class Compressed:
    """The start of a gzip file, and the checksum and the length of what is in it."""

    pieces: Sequence[_Piece]
    checksum: int
    length: int

    def ended_with(self, tail: bytes) -> list[bytes]:
        """The parts of the whole file, with `tail` at the end."""
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
        checksum, length = zlib.crc32(tail, self.checksum), (self.length + len(tail)) % 2**32
        end = deflate.compress(tail) + deflate.flush() + struct.pack("<LL", checksum, length)
        return [_HEADER, *(piece.deflated for piece in self.pieces), end]


class Compressor:
    """Compresses parts, except for those that are in an earlier result which still exists."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[bytes, ...], _Piece] = WeakValueDictionary()

    def compress(self, parts: Sequence[bytes]) -> Compressed:
        """These parts."""
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
        pieces = []
        for group in _grouped(parts):
            piece = self._known.get(group)
            if piece is None:
                deflated = [*map(deflate.compress, group), deflate.flush(zlib.Z_FULL_FLUSH)]
                piece = self._known[group] = _Piece(b"".join(deflated))
            pieces.append(piece)
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        return Compressed(pieces, checksum, sum(map(len, parts)))


def _grouped(parts: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """The parts, small ones together with their neighbours."""
    group: list[bytes] = []
    size = 0
    for part in parts:
        if group and len(part) >= _GROUP:  # so that the groups that follow do not depend on those before
            yield tuple(group)
            group, size = [], 0
        group.append(part)
        size += len(part)
        if size >= _GROUP:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)
