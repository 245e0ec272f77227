"""Numbers in bytes, and bytes that may be anything read back from the front."""

_NUMBER_BITS_MAX = 63


class Malformed(Exception):  # noqa: N818 - it says what the bytes are
    """These bytes are not what they should be."""


def number(value: int) -> bytes:
    """Encode a number from 0 up: seven bits a byte, the least significant first; the highest bit is set if more follow."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


class ByteReader:
    """Takes bytes from the front; every method raises Malformed where they are not what it looks for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """Read a number below 2^63 that the function `number` wrote, in its only and shortest form."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= _NUMBER_BITS_MAX:
                raise Malformed("a number beyond 2^63")
        if byte == 0 and shift > 7:
            raise Malformed("a number longer than it has to be")
        return value

    def take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) != length:
            raise Malformed("the end is missing")
        self._at += length
        return taken

    def rice(self, count: int, k: int) -> list[int]:
        """Read so many numbers in Rice code, then go on to the next whole byte."""
        if k > _NUMBER_BITS_MAX:
            raise Malformed("a parameter out of range")
        rest = self._data[self._at :]
        bits = f"{int.from_bytes(rest, 'big'):0{len(rest) * 8}b}" if rest else ""
        values: list[int] = []
        at = 0
        while len(values) < count:
            stop = bits.find("0", at)
            if stop < 0 or stop + 1 + k > len(bits):
                raise Malformed("the end is missing")
            values.append((stop - at) << k | (int(bits[stop + 1 : stop + 1 + k], 2) if k else 0))
            at = stop + 1 + k
        self._at += -(-at // 8)
        return values

    def end(self) -> None:
        if self._at != len(self._data):
            raise Malformed("there is more than there should be")


def rice(values: list[int], k: int) -> bytes:
    """Encode numbers in Rice code: the quotient by 2^k in ones and a zero, then k bits; ones fill the last byte."""
    rest, form = (1 << k) - 1, f"0{k}b"
    text = "".join("1" * (value >> k) + "0" + (format(value & rest, form) if k else "") for value in values)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def rice_bytes(values: list[int], k: int) -> int:
    """Return the length of the code in bytes."""
    return -(-sum([(value >> k) + k + 1 for value in values]) // 8)
