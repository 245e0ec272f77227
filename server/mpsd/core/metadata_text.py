"""Bytes as text that a broker keeps with a commit.

Brokers bound that text in different ways: Apache Kafka counts UTF-16 code units, others count bytes. ASCII is the same
in both.

    ascii   base64 without padding: 6 bits a unit
    utf16   15 bits a unit, as the characters from U+4E00 to U+CDFF: no surrogates, no controls, nothing that any
            normalisation changes
"""

from base64 import b64decode, b64encode
from enum import StrEnum

_FIRST = 0x4E00
_BITS = 15
_MASK = (1 << _BITS) - 1
_BLOCK_BYTES = 15
_BLOCK_UNITS = 8
_SHIFTS = tuple(range(_BITS * (_BLOCK_UNITS - 1), -1, -_BITS))


class Packing(StrEnum):
    """The encoding of bytes as text."""

    ASCII = "ascii"
    UTF16 = "utf16"


def bytes_in(units: int, packing: Packing) -> int:
    """Return the number of bytes that fit into so many units."""
    return units * (6 if packing is Packing.ASCII else _BITS) // 8


def pack(data: bytes, packing: Packing) -> str:
    """Return the shortest text for the bytes."""
    if packing is Packing.ASCII:
        return b64encode(data).decode("ascii").rstrip("=")
    text = []
    padded = data + bytes(-len(data) % _BLOCK_BYTES)
    for start in range(0, len(padded), _BLOCK_BYTES):
        block = int.from_bytes(padded[start : start + _BLOCK_BYTES], "big")
        text += [chr(_FIRST + (block >> shift & _MASK)) for shift in _SHIFTS]
    return "".join(text)[: -(-len(data) * 8 // _BITS)]


def unpack(text: str, packing: Packing) -> bytes:
    """Return the bytes, with up to one zero byte behind them, because the text does not show where they end.

    Raises:
        ValueError: a character that this packing has not, or a length that it never has.
    """
    if packing is Packing.ASCII:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    values = [ord(character) - _FIRST for character in text]
    if any(not 0 <= value <= _MASK for value in values):
        raise ValueError("a character that holds no 15 bits")
    values += [0] * (-len(values) % _BLOCK_UNITS)
    data = bytearray()
    for start in range(0, len(values), _BLOCK_UNITS):
        block = 0
        for value in values[start : start + _BLOCK_UNITS]:
            block = block << _BITS | value
        data += block.to_bytes(_BLOCK_BYTES, "big")
    return bytes(data[: len(text) * _BITS // 8])
