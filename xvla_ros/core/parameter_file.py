# SPDX-License-Identifier: Apache-2.0
"""
ROS parameter files, read as rcl reads them, so that tools and nodes see the same values.

rcl's parser and PyYAML's constructors disagree: `5e-1` is a number for rcl and text for PyYAML,
`1:00` is text for rcl and 60 for PyYAML. Here PyYAML only splits the file into events; the values
follow rcl_yaml_param_parser (get_value in src/parse.c, Jazzy). Values that rcl refuses or
misreads are refused with their line.
"""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Any

import yaml

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.yaml_scalars import scalar

POLICY_NODE = 'policy_node'
PARAMETERS = 'ros__parameters'
# rcl's parser is libyaml; PyYAML's own one differs in details.
LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
STRING_TAG = 'tag:yaml.org,2002:str'
# Name of a node with its namespaces, which may contain rcl's wildcards.
SECTION = re.compile(r'/?(\*\*?|[A-Za-z0-9_]+)(/(\*\*?|[A-Za-z0-9_]+))*')
# Blocks inside blocks; the deepest setting is five blocks down.
MOST_LEVELS = 32


def read_parameter_file(path: str | Path, node: str = POLICY_NODE) -> dict[str, Any]:
    """
    Return the parameters that a ROS parameter file gives to a node, by dotted or nested names.

    :param node: name of the node, in no namespace. Sections apply in the order of the file.
    :raises ConfigError: the file cannot be read, is not a ROS parameter file, or holds something
        that rcl refuses; the message names the line.
    """
    return parse_parameters(_content(path), str(path), node)


def check_parameter_file(path: str | Path) -> None:
    """
    Read the sections of all nodes.

    :raises ConfigError: as `read_parameter_file`, but for missing parameters.
    """
    for _ in _Reader(str(path)).sections(_content(path)):
        pass


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f'{path}: cannot read the embodiment file: {error}') from error


def parse_parameters(content: str | bytes, source: str, node: str = POLICY_NODE) -> dict[str, Any]:
    """
    Return the parameters that the text of a parameter file gives to a node.

    :param source: where the text came from, for messages.
    :raises ConfigError: as `read_parameter_file`.
    """
    parameters: dict[str, Any] = {}
    names = []
    for name, block in _Reader(source).sections(content):
        names.append(name)
        if section_applies(name, node):
            _merge(parameters, block)
    if not parameters:
        found = f'the file has sections {", ".join(names)}' if names else 'the file has no section'
        raise ConfigError(
            f"{source}: no parameters for {node}: expected a '/**:' block holding "
            f"'{PARAMETERS}:', as in config/franka.yaml; {found}"
        )
    return parameters


def parse_value(text: str, source: str) -> Any:
    """
    Return one value as rcl reads it; a list may mix whole numbers and floats.

    :raises ConfigError: the text is not one value.
    """
    return _Reader(source).value(text)


def section_applies(section: str, node: str) -> bool:
    """Tell whether a section's name, with rcl's wildcards, matches a node in no namespace."""
    pattern = re.escape(f'/{section.lstrip("/")}')
    pattern = pattern.replace(r'/\*\*', '(/[^/]+)*').replace(r'\*', '[^/]+')
    return re.fullmatch(pattern, f'/{node}') is not None


def _merge(into: dict[str, Any], block: dict[str, Any]) -> None:
    """Add a section's parameters; later ones replace earlier ones."""
    for name, value in block.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


class _Reader:
    """Turns YAML events into values, refusing what rcl does not take."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._events: Iterator[Any] = iter(())
        self._levels = 0

    def sections(self, content: str | bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield name and parameters of every section of all documents."""
        self._open(content)
        for event in self._stream():
            if isinstance(event, yaml.DocumentStartEvent) and event.version not in (None, (1, 1)):
                raise self._error(event, 'rcl reads YAML 1.1 only: remove the %YAML directive')
            if isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent)):
                raise self._error(event, "expected sections such as '/**:'")
            if isinstance(event, yaml.MappingStartEvent):
                yield from self._sections('')

    def value(self, text: str) -> Any:
        """Return the one value of a text."""
        self._open(text)
        values = [
            self._value(event, mixed=True)
            for event in self._stream()
            if not isinstance(event, (yaml.StreamStartEvent, yaml.StreamEndEvent,
                                      yaml.DocumentStartEvent, yaml.DocumentEndEvent))
        ]  # fmt: skip
        if len(values) != 1:
            raise ConfigError(f'{self._source}: expected one value, got {text!r}')
        return values[0]

    def _open(self, content: str | bytes) -> None:
        self._events = iter(yaml.parse(content, Loader=LOADER))

    def _stream(self) -> Iterator[Any]:
        """Yield events; an error of the parser becomes a ConfigError of one line."""
        while True:
            try:
                yield next(self._events)
            except StopIteration:
                return
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                mark = getattr(error, 'problem_mark', None)
                line = f':{mark.line + 1}' if mark else ''
                problem = getattr(error, 'problem', None) or str(error)
                text = ' '.join(str(problem).split())
                raise ConfigError(f'{self._source}{line}: not valid YAML: {text}') from error

    def _error(self, event: Any, text: str) -> ConfigError:
        return ConfigError(f'{self._source}:{event.start_mark.line + 1}: {text}')

    def _sections(self, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the sections of a mapping of node names, which namespaces may nest."""
        once = False
        for event, key in self._keys():
            if not SECTION.fullmatch(key):
                raise self._error(event, f"'{key}' is no name of a node")
            inner = next(self._stream())
            if not isinstance(inner, yaml.MappingStartEvent):
                raise self._error(
                    event, f"'{key}' must hold a block: expected '/**:' with '{PARAMETERS}:' in it"
                )
            if key == PARAMETERS:
                if not prefix:
                    raise self._error(event, f"'{PARAMETERS}' must be inside a section, as '/**:'")
                if once:
                    raise self._error(event, f"'{PARAMETERS}' stands here twice")
                once = True
                yield prefix, self._block(event, top=True)
            else:
                yield from self._sections(f'{prefix}/{key.strip("/")}' if prefix else key)

    def _keys(self) -> Iterator[tuple[Any, str]]:
        """Yield every key of a mapping; the caller takes the values."""
        self._levels += 1
        for event in self._stream():
            if isinstance(event, yaml.MappingEndEvent):
                break
            if self._levels > MOST_LEVELS:
                raise self._error(event, f'more than {MOST_LEVELS} blocks inside each other')
            if not isinstance(event, yaml.ScalarEvent) or not event.value:
                raise self._error(event, 'a key must be a name')
            yield event, event.value
        self._levels -= 1

    def _block(self, start: Any, top: bool = False) -> dict[str, Any]:
        """Return the settings of a block."""
        block: dict[str, Any] = {}
        for event, key in self._keys():
            value = self._value(next(self._stream()), key=key)
            known = block.get(key)
            if isinstance(known, dict) and isinstance(value, dict):
                _merge(known, value)
                continue
            if key in block and _kind(known) != _kind(value):
                raise self._error(event, f"'{key}' stands here twice, with values of two types")
            block[key] = value
        if not block and not top:
            raise self._error(start, 'rcl takes no empty block: leave its key out')
        return block

    def _value(self, event: Any, key: str = '', mixed: bool = False) -> Any:
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, f"'{key}': rcl takes no aliases (*name): write the value out")
        if isinstance(event, yaml.MappingStartEvent):
            return self._block(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(event, key, mixed)
        if '\0' in event.value:
            raise self._error(event, f"'{key}': rcl cuts a text at a zero byte")
        quoted = event.style in ('"', "'")
        if not event.value and not quoted:
            raise self._error(event, f"'{key}' has no value: for an empty text write ''")
        if quoted or event.tag == STRING_TAG:
            return event.value
        return scalar(event.value)

    def _list(self, start: Any, key: str, mixed: bool) -> list[Any]:
        values = []
        for event in self._stream():
            if isinstance(event, yaml.SequenceEndEvent):
                break
            if not isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
                raise self._error(event, f"'{key}': a list must hold single values")
            values.append(self._value(event, key))
        kinds = {type(value).__name__ for value in values}
        if mixed and kinds == {'int', 'float'}:
            return values
        if len(kinds) > 1:
            hint = ': write whole numbers as 1.0' if kinds == {'int', 'float'} else ''
            raise self._error(
                start, f"'{key}': rcl takes no list of {' and '.join(sorted(kinds))}{hint}"
            )
        if not values and not mixed:
            raise self._error(start, f"'{key}': rcl takes no empty list: leave the key out")
        return values


def _kind(value: object) -> str:
    """Return the type of a value for rcl, with that of its items."""
    items = {type(item).__name__ for item in value} if isinstance(value, list) else set()
    return f'{type(value).__name__} {sorted(items)}'
