# SPDX-License-Identifier: Apache-2.0
"""
Arrays on the wire: json_numpy objects and msgpack_numpy maps, with strict checks.

The decoders of these libraries are not used on a client's data, because msgpack_numpy unpickles
object arrays, and both build any dtype that the data name.
"""

from base64 import b64decode, b64encode
import binascii
from collections.abc import Mapping, Sequence
import json
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.serve.requests import Limits, RequestError

NUMBER_DTYPE = re.compile(r'[<>|=]?[uif][1248]|u?int(8|16|32|64)|float(16|32|64)')
MOST_AXES = 4


def read_array(value: Any, name: str, limits: Limits) -> NDArray[Any]:
    """
    Read an array in any form that X-VLA's clients send.

    :param value: a string holding JSON (v1), a json_numpy object, a msgpack_numpy map, or nested
        lists.
    :raises RequestError: it is none of these. A string is never taken for a path.
    """
    if isinstance(value, str):
        value = read_json_string(value, name, limits)
    if isinstance(value, Mapping):
        return read_numpy_map(value, name)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return read_list(value, name)
    raise RequestError(
        f'{name}: is a {type(value).__name__}, expected an array as json_numpy or msgpack_numpy'
    )


def check_density(text: str | bytes, limits: Limits, name: str) -> None:
    """
    Refuse JSON that would need too much memory: an empty list has 2 bytes, its object 56.

    Base64 has no brackets and commas, so images as json_numpy pass at any size.
    """
    marks = ('[', '{', ',')
    if isinstance(text, str):
        lists, objects, numbers = (text.count(mark) for mark in marks)
    else:
        lists, objects, numbers = (text.count(mark.encode()) for mark in marks)
    if lists + objects > limits.values or numbers > limits.numbers:
        raise RequestError(
            f'{name}: too many values; send arrays as json_numpy, not as lists', 413
        )


def read_json_string(text: str, name: str, limits: Limits) -> Any:
    """Parse the JSON inside a JSON string, the v1 form of arrays."""
    check_density(text, limits, name)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(
            f'{name}: is a string that holds no array, expected json_numpy.dumps(array); '
            f'paths are never opened'
        ) from None
    if isinstance(value, str):
        raise RequestError(f'{name}: holds text, expected an array; paths are never opened')
    return value


def read_numpy_map(value: Mapping[Any, Any], name: str) -> NDArray[Any]:
    """Read a json_numpy object or a msgpack_numpy map with text or bytes as keys."""
    if '__numpy__' in value:
        dtype = read_dtype(value.get('dtype'), name)
        shape = read_shape(value.get('shape'), name)
        return build(
            read_base64(value['__numpy__'], size_of(dtype, shape), name), dtype, shape, name
        )
    if b'nd' in value or 'nd' in value:
        kind, sizes, data = (
            value.get(k.encode(), value.get(k)) for k in ('type', 'shape', 'data')
        )
        dtype = read_dtype(kind, name)
        shape = read_shape([] if sizes is None else sizes, name)
        return build(data, dtype, shape, name)
    raise RequestError(f'{name}: is an object without "__numpy__", expected a json_numpy array')


def read_dtype(value: Any, name: str) -> np.dtype[Any]:
    """Accept plain numbers only: no objects, strings, dates or structures."""
    if not isinstance(value, str) or not NUMBER_DTYPE.fullmatch(value):
        raise RequestError(f'{name}: dtype {shorten(value)} is not one of uint, int or float')
    try:
        return np.dtype(value)
    except TypeError:
        raise RequestError(f'{name}: dtype {shorten(value)} does not exist') from None


def read_shape(value: Any, name: str) -> tuple[int, ...]:
    """Accept a short list of sizes that are not negative."""
    sizes = list(value) if isinstance(value, (list, tuple)) else [None]
    small = all(type(size) is int and 0 <= size <= 2**31 for size in sizes)
    if not small or len(sizes) > MOST_AXES:
        raise RequestError(f'{name}: shape {shorten(value)}, expected up to {MOST_AXES} sizes')
    return tuple(int(size) for size in value)


def size_of(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the bytes an array needs."""
    return dtype.itemsize * math.prod(shape)


def read_base64(value: Any, size: int, name: str) -> bytes:
    """
    Decode base64 that must hold `size` bytes; check its length before.

    Invalid characters are skipped, and `build` then finds too few bytes. This is cheaper than a
    check.
    """
    expected = 4 * ((size + 2) // 3)
    if not isinstance(value, str) or len(value) != expected:
        got = f'{len(value)} characters' if isinstance(value, str) else type(value).__name__
        raise RequestError(f'{name}: data is {got}, but dtype and shape need {expected} of base64')
    try:
        return b64decode(value)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f'{name}: data is not base64: {error}') from None


def build(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """View bytes as an array, if their number is right."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise RequestError(f'{name}: data is a {type(data).__name__}, expected bytes')
    needed = size_of(dtype, shape)
    if len(data) != needed:
        raise RequestError(
            f'{name}: {len(data)} bytes of data, but {dtype} of shape {list(shape)} needs {needed}'
        )
    return np.frombuffer(data, dtype).reshape(shape)


def read_list(value: Sequence[Any], name: str) -> NDArray[Any]:
    """Read nested lists of numbers."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, TypeError, RecursionError):
        raise RequestError(f'{name}: is not a regular list of numbers') from None
    if array.dtype.kind not in 'iuf':
        raise RequestError(f'{name}: is a list of {array.dtype.name} values, expected numbers')
    return array


def json_numpy_literal(array: NDArray[Any]) -> str:
    r"""
    Write an array like `json.dumps(json_numpy.dumps(array))`, without scanning its data twice.

    JSON escapes nothing in base64, so the data replace an empty placeholder.
    """
    array = np.ascontiguousarray(array)
    frame = json.dumps({'__numpy__': '', 'dtype': array.dtype.str, 'shape': array.shape})
    before, after = json.dumps(frame).split(r'\"\"', 1)
    return rf'{before}\"{b64encode(array.data).decode()}\"{after}'


def msgpack_map(array: NDArray[Any]) -> dict[bytes, Any]:
    """Write an array as msgpack_numpy does."""
    array = np.ascontiguousarray(array)
    return {
        b'nd': True,
        b'type': array.dtype.str,
        b'kind': b'',
        b'shape': array.shape,
        b'data': array.tobytes(),
    }


def shorten(value: Any, most: int = 80) -> str:
    """Return a short form of a client's value for a message."""
    text = (
        ascii(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    )
    return text if len(text) <= most else text[:most] + '...'
