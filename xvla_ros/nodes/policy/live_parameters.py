# SPDX-License-Identifier: Apache-2.0
"""The parameters that may be set while the policy runs: all of a request are checked, then set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from xvla_ros.core.errors import XvlaError


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveParameter:
    """check: raises ValueError or XvlaError to refuse a value. apply: uses it."""

    check: Callable[[Any], object]
    apply: Callable[[Any], None]


class LiveParameters:
    """Serves them from the executor's thread."""

    def __init__(self, node: Node, known: Mapping[str, LiveParameter]) -> None:
        """Listen from now on."""
        self._node, self._known = node, known
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def close(self) -> None:
        """Listen no more."""
        self._node.remove_on_set_parameters_callback(self._check)
        self._node.remove_post_set_parameters_callback(self._apply)

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name in self._known:
                try:
                    self._known[parameter.name].check(parameter.value)
                except (ValueError, XvlaError) as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if parameter.name in self._known:
                self._known[parameter.name].apply(parameter.value)
