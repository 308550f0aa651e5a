# SPDX-License-Identifier: Apache-2.0
"""Message types without ROS: their definitions, and conversion of CDR bytes."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
import os
from pathlib import Path
from typing import Any, Literal

from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.core.resources import shared_file

OURS = (
    'EndEffectorTarget', 'EndEffectorCommand', 'ActionStep', 'ActionChunk', 'PolicyStatus',
    'ControllerStatus',
)  # fmt: skip
# In CDR: four bytes of encapsulation, seconds, nanoseconds.
STAMP_END = 12
# Fast DDS adds padding for the elements of empty arrays, and so leaves up to this many bytes after
# the message; rosbags takes more than three for damage.
SPARE_BYTES = (0, 4, 8, 12, 16)


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Return the types of ROS 2 Jazzy and of this package."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in OURS:
        kind = f'xvla_ros/msg/{name}'
        text = shared_file('msg', f'{name}.msg').read_text(encoding='utf-8')
        store.register(get_types_from_msg(text, kind))
    return store


def knows(kind: str) -> bool:
    """Tell whether messages of a type can be read."""
    return kind in typestore().types


def learn(kind: str, text: str) -> None:
    """Register the definition of an unknown type, unless it cannot be parsed."""
    store = typestore()
    if kind in store.types or not text:
        return
    try:
        found = get_types_from_msg(text, kind)
        store.register({name: fields for name, fields in found.items() if name not in store.types})
    except Exception:  # the parser raises many types; messages of this type stay unread
        return


def definition(kind: str) -> str:
    """
    Return a type's definition with those of all types in it, in rosbag2's format.

    :raises ConfigError: the type is unknown.
    """
    if not (knows(kind) or _learn_installed(kind)):
        raise ConfigError(f"message type '{kind}' is unknown: no definition of it is installed")
    text, _ = typestore().generate_msgdef(kind, ros_version=2)
    return text


def _learn_installed(kind: str) -> bool:
    """Register a definition, and those of the types in it, from an installed ROS package."""
    package, _, name = kind.partition('/msg/')
    for prefix in filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)):
        path = Path(prefix) / 'share' / package / 'msg' / f'{name}.msg'
        if path.is_file():
            found = get_types_from_msg(path.read_text(encoding='utf-8'), kind)
            inner = {each for _, fields in found.values() for each in _named(fields)}
            if all(knows(each) or _learn_installed(each) for each in inner - set(found)):
                typestore().register(found)
            break
    return knows(kind)


def _named(fields: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield the message types of fields, also in arrays."""
    for _, (node, value) in fields:
        if node == Nodetype.NAME:
            yield value
        elif node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            yield from _named([('', value[0])])


def type_hash(kind: str) -> str:
    """Return the RIHS01 hash of a type, as in rosbag2's metadata."""
    return typestore().hash_rihs01(kind)


def read_message(kind: str, data: bytes) -> Any:
    """
    Return the message in CDR bytes; arrays of numbers are numpy arrays.

    :raises ObservationError: they are not a valid message of the type.
    """
    first: Exception | None = None
    for spare in SPARE_BYTES:
        try:
            return typestore().deserialize_cdr(data[: len(data) - spare], kind)
        except Exception as error:  # the reader raises many types for invalid bytes
            first = first or error
            if 'size mismatch' not in str(error):
                break
    raise ObservationError(f'{len(data)} bytes cannot be read as {kind}: {first!r}') from first


def write_message(kind: str, message: Any) -> bytes:
    """Return a message of `typestore().types[kind]` as CDR bytes."""
    return bytes(typestore().serialize_cdr(message, kind))


def header_stamp_ns(data: bytes) -> int:
    """
    Return the stamp of a message that begins with a std_msgs/Header.

    :raises ObservationError: the message is too short to hold one.
    """
    if len(data) < STAMP_END:
        raise ObservationError(f'a message of {len(data)} bytes holds no header')
    order = _byte_order(data)
    seconds = int.from_bytes(data[4:8], order, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(data[8:12], order)


def _byte_order(data: bytes) -> Literal['little', 'big']:
    """Return the byte order in CDR's encapsulation."""
    return 'little' if data[1] & 1 else 'big'


def begins_with_header(kind: str) -> bool:
    """Tell whether messages of a type begin with a std_msgs/Header."""
    if not knows(kind):
        return False
    _, fields = typestore().fielddefs[kind]
    return bool(fields) and fields[0][1][1] == 'std_msgs/msg/Header'


def moved_stamp(data: bytes, stamp_ns: int) -> bytes:
    """
    Return a message that begins with a std_msgs/Header with another stamp.

    :raises ObservationError: the message is too short to hold one.
    """
    if len(data) < STAMP_END:
        raise ObservationError(f'a message of {len(data)} bytes holds no header')
    order = _byte_order(data)
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = seconds.to_bytes(4, order, signed=True) + nanoseconds.to_bytes(4, order)
    return b''.join((data[:4], stamp, data[12:]))
