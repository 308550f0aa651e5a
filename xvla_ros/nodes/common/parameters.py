# SPDX-License-Identifier: Apache-2.0
"""Converts ROS parameters to the settings of an embodiment, and describes them."""

from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import Field, fields, is_dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from xvla_ros.core.embodiment import Embodiment, embodiment_from_parameters
from xvla_ros.nodes.common.robot_description import with_descriptions


def read_embodiment(
    node: Node, live: Callable[[Embodiment], Collection[str]] = lambda _: ()
) -> Embodiment:
    """
    Return the embodiment of a node's parameters, and add a description to each parameter.

    The node must have been made with automatically_declare_parameters_from_overrides. Waits for
    robot descriptions on topics.

    :param live: returns the names of the parameters that may be set while the node runs; all
        others are read once, and read-only from then on.

    :raises ConfigError: a parameter is unknown, missing or wrong; the message names it. Or a robot
        description did not come.
    """
    given = {name: _plain(p.value) for name, p in node.get_parameters_by_prefix('').items()}
    source = f'parameters of {node.get_fully_qualified_name()}'
    embodiment = embodiment_from_parameters(given, source)
    names = live(embodiment)
    for name, value, field in leaves(embodiment):
        _describe(node, name, value, field, name not in names)
    return with_descriptions(node, embodiment)


def leaves(settings: Any, prefix: str = '') -> Iterator[tuple[str, Any, Field[Any]]]:
    """Yield the dotted name, the value and the dataclass field of every setting."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        name = f'{prefix}{field.name}'
        if is_dataclass(value):
            yield from leaves(value, f'{name}.')
        elif isinstance(value, dict):
            for key, block in value.items():
                yield from leaves(block, f'{name}.{key}.')
        elif value is not None:
            yield name, value, field


def _plain(value: Any) -> Any:
    """Return arrays of numbers as lists, as in a YAML file."""
    return list(value) if isinstance(value, (array, tuple)) else value


def _describe(node: Node, name: str, value: Any, field: Field[Any], read_only: bool) -> None:
    """Declare one setting, or describe it if the user already gave it."""
    descriptor = _descriptor(value, field, read_only)
    if not node.has_parameter(name):
        node.declare_parameter(
            name, list(value) if isinstance(value, tuple) else value, descriptor
        )
    elif not node.describe_parameter(name).read_only:
        descriptor.type = node.get_parameter(name).type_.value  # the type that the user gave stays
        node.set_descriptor(name, descriptor)


def _descriptor(value: Any, field: Field[Any], read_only: bool) -> ParameterDescriptor:
    """Return the description, range and choices of one setting."""
    low, high, choices = (field.metadata.get(k) for k in ('low', 'high', 'choices'))
    descriptor = ParameterDescriptor(
        description=field.metadata.get('description', ''),
        additional_constraints=f'one of {", ".join(choices)}' if choices else '',
        read_only=read_only,
    )
    if low is None or high is None or isinstance(value, (bool, str, tuple)):
        return descriptor
    if isinstance(value, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]
    return descriptor
