# SPDX-License-Identifier: Apache-2.0
"""
Typed settings: frozen dataclasses filled strictly from nested mappings.

A field made by `param` has a description, a range and choices. `read` refuses unknown keys (and
names the nearest known one), wrong types and values out of range. It changes no value, except that
a whole number is accepted for a float.
"""

from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass, MISSING
import difflib
import math
from typing import Any, get_args, get_origin, get_type_hints, TypeVar

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.names import name_objection

T = TypeVar('T')
# rcl's parser knows no YAML null and keeps these texts.
NULLS = ('~', 'null', 'Null', 'NULL')
# Names of the types in messages.
TYPES = {str: 'text', int: 'a whole number', float: 'a number', bool: 'true or false'}
LISTED = {str: 'texts', int: 'whole numbers', float: 'numbers', bool: 'true or false'}
# Characters of a wrong value that a message quotes.
MOST_SHOWN = 100
# Whole numbers up to this size are floats without loss.
EXACT = 2**53


def param(
    description: str,
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    topic: bool = False,
) -> Any:
    """
    Describe one setting: its meaning with the unit, default, closed range or choices.

    :param topic: the setting names a topic, service or action. It may be empty only if its
        default is empty.
    """
    metadata = {
        'description': description, 'low': low, 'high': high, 'choices': choices, 'topic': topic
    }  # fmt: skip
    if default is MISSING or not isinstance(default, dict):
        return field(default=default, metadata=metadata)
    # Settings stay hashable: equal ones have equal hashes without this field, too.
    return field(default_factory=lambda: dict(default), metadata=metadata, hash=False)


def read(settings: type[T], mapping: Mapping[str, Any], source: str, path: str = '') -> T:
    """
    Fill a settings dataclass from a nested mapping.

    :param source: where the mapping came from, for messages: a file, a node's parameters.
    :param path: dotted name of this block inside the source.
    :raises ConfigError: naming the key, the value, what was expected and the source.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{source}: '{path}' must be a block of settings, got {shown(mapping)}")
    known = {f.name: f for f in fields(settings)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in known:
            raise ConfigError(
                f"{source}: unknown key '{_join(path, key)}'{_nearest(str(key), list(known))}"
            )
    hints = get_type_hints(settings)
    values = {}
    for name, f in known.items():
        where = _join(path, name)
        if name in mapping:
            values[name] = _value(hints[name], mapping[name], f, source, where)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(
                f"{source}: missing key '{where}': {f.metadata.get('description', 'required')}"
            )
    try:
        return settings(**values)
    except ValueError as error:
        raise ConfigError(f"{source}: '{path or 'embodiment'}': {error}") from error


def kind_of(settings: type, name: str) -> Any:
    """
    Return the annotated type of a single setting; None for an unknown name or a block.

    :param name: dotted; blocks of a mapping, such as one arm, may have any name.
    """
    first, _, rest = name.partition('.')
    hint = _present(get_type_hints(settings).get(first))
    if get_origin(hint) is dict:
        hint, rest = get_args(hint)[1], rest.partition('.')[2]
    if is_dataclass(hint):
        return kind_of(hint, rest) if rest else None  # type: ignore[arg-type]
    return None if rest else hint


def check_lengths(settings: object, sizes: Mapping[str, int]) -> None:
    """
    Check how many numbers the lists of a block hold.

    :param sizes: name of a field -> how many it must hold.
    :raises ValueError: naming the field.
    """
    for name, size in sizes.items():
        count = len(getattr(settings, name))
        if count != size:
            raise ValueError(f'{name} must hold {size} numbers, got {count}')


def check_corners(settings: object, lower: str, upper: str) -> None:
    """
    Check that one corner of a box is below the other.

    :param lower: name of the field of one corner, `upper` of the other; of the same length.
    :raises ValueError: naming both fields.
    """
    low, high = getattr(settings, lower), getattr(settings, upper)
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise ValueError(f'{lower} {low} must be below {upper} {high}')


def _join(path: str, name: object) -> str:
    return f'{path}.{name}' if path else str(name)


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return (
        f"; did you mean '{close[0]}'?" if close else f'; known here: {", ".join(sorted(known))}'
    )


def _present(hint: Any) -> Any:
    """Return X for X | None: such a block may be absent, but not null."""
    if get_origin(hint) in (None, tuple, dict):
        return hint
    return next(t for t in get_args(hint) if t is not type(None))


def _value(hint: Any, value: Any, f: Field[Any], source: str, where: str) -> Any:
    """Return `value` as the annotated type, or raise ConfigError."""
    hint = _present(hint)
    if is_dataclass(hint):
        return read(hint, value, source, where)  # type: ignore[arg-type]
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping) or not value:
            raise ConfigError(f"{source}: '{where}' must be a non-empty block, got {shown(value)}")
        item = get_args(hint)[1]
        return {str(k): read(item, v, source, _join(where, k)) for k, v in value.items()}
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise ConfigError(
                f"{source}: '{where}' must be a list of {LISTED[item]}, got {shown(value)}"
            )
        return tuple(_scalar(item, v, f, source, f'{where}[{i}]') for i, v in enumerate(value))
    return _scalar(hint, value, f, source, where)


def _scalar(kind: Any, value: Any, f: Field[Any], source: str, where: str) -> Any:
    """Return `value` if type, finiteness, range and choices allow it, or raise ConfigError."""
    if kind is float and type(value) is int and abs(value) <= EXACT:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(
            f"{source}: '{where}' must be {TYPES[kind]}, got {shown(value)}{_hint(kind, value)}"
        )
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{source}: '{where}' must be finite, got {value!r}")
    metadata: Mapping[str, Any] = f.metadata
    if kind is str:
        _check_text(value, f, source, where)
    low, high, choices = (metadata.get(k) for k in ('low', 'high', 'choices'))
    if (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(f"{source}: '{where}' must be in [{low}, {high}], got {value!r}")
    if choices and value not in choices:
        raise ConfigError(
            f"{source}: '{where}' must be one of {list(choices)}, got {shown(value)}"
            f'{_did(value, choices)}'
        )
    return value


def _check_text(value: str, f: Field[Any], source: str, where: str) -> None:
    """Refuse null, a forbidden empty text, and a topic that ROS would refuse."""
    if value in NULLS:  # what rcl makes of null
        raise ConfigError(f"{source}: '{where}' is null: for an empty text write ''")
    if not value:
        if f.default is MISSING:
            raise ConfigError(f"{source}: '{where}' must not be empty")
        return
    objection = name_objection(value) if f.metadata.get('topic') else ''
    if objection:
        raise ConfigError(f"{source}: '{where}': {shown(value)} is no ROS name: {objection}")


def _hint(kind: type, value: object) -> str:
    """Return how to write the value that was probably meant."""
    if value is None:
        return ", null: for an empty text write ''" if kind is str else ', null: leave the key out'
    if kind is str and isinstance(value, (bool, int, float)):
        return ': put it in quotes'
    return ''


def shown(value: object) -> str:
    """Return a value for a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f'{text[:MOST_SHOWN]}...'


def _did(value: str, choices: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(value), choices, n=1)
    return f"; did you mean '{close[0]}'?" if close else ''
