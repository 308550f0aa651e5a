# SPDX-License-Identifier: Apache-2.0
"""Broken copies of valid input, by number."""

from collections.abc import Callable, Sequence
import random

# What parsers stumble over: ends of number ranges, brackets, encodings.
TOKENS = (
    *(b'\x00', b'\xff', b'\xff\xff\xff\xff', b'\x7f\xff\xff\xff', b'-1', b'0', b'1e999', b'NaN'),
    *(b'Infinity', b'null', b'true', b'[]', b'{}', b'""', b'[[[[', b'{"a":', b'\xc3\x28'),
    *(b'99999999999999999999', b'&a [*a, *a]', b'<<: *a', b'!!python/object:os.system', b'\n- '),
)


def mutate(seed: bytes, number: int) -> bytes:
    """Return a copy with up to four changes: cut, repeat, overwrite, insert. Repeatable."""
    chance, data = random.Random(number), bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + 1 + int(chance.random() ** 3 * len(data) / 4))
        kind, token = chance.randrange(4), chance.choice(TOKENS)
        if chance.random() < 0.5:
            token = chance.randbytes(chance.randint(1, 8))
        if kind == 0:
            del data[start:stop]
        elif kind == 1:
            data[start:start] = data[start:stop]
        elif kind == 2:
            data[start : start + len(token)] = token
        else:
            data[start:start] = token
    return bytes(data)


def broken(seeds: Sequence[bytes]) -> Callable[[int], bytes]:
    """Return what makes a broken copy of a number, and bytes of nothing at all now and then."""

    def make(number: int) -> bytes:
        if number % 8 == 7:
            chance = random.Random(number)
            return chance.randbytes(chance.randint(0, 64))
        return mutate(seeds[number % len(seeds)], number)

    return make


def smallest(data: bytes, crashes: Callable[[bytes], bool]) -> bytes:
    """Return a copy without what a crash does not need: halves, then quarters, ... are cut out."""
    size = len(data) // 2
    while size:
        start = 0
        while start < len(data):
            less = data[:start] + data[start + size :]
            if crashes(less):
                data = less
            else:
                start += size
        size //= 2
    return data
