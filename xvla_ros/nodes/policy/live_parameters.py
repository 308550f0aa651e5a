# SPDX-License-Identifier: Apache-2.0
"""
Parameters that may be set while the policy runs. A request is checked as a whole, then applied.

`core.live_settings` decides which changes are refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.core.live_settings import GRIPPER, SAFER, with_limit, with_warm_start
from xvla_ros.runtime.policy import PolicyRuntime


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveParameter:
    """check: raises ValueError or XvlaError to refuse a value. apply: uses it."""

    check: Callable[[Any], object]
    apply: Callable[[Any], None]


class LiveParameters:
    """Serves these parameters on the executor's thread."""

    def __init__(self, node: Node, known: Mapping[str, LiveParameter]) -> None:
        """Register the callbacks."""
        self._node, self._known = node, known
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def close(self) -> None:
        """Remove the callbacks."""
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


class LiveSettings:
    """The embodiment with changed parameters, and the policy that uses it."""

    def __init__(self, embodiment: Embodiment, runtime: PolicyRuntime) -> None:
        """Start with the embodiment at the start of the policy."""
        self.embodiment = self._given = embodiment
        self._runtime = runtime

    def parameters(self) -> dict[str, LiveParameter]:
        """Return limits, grippers' thresholds and the warm start."""
        limits = {f'limits.{key}': partial(self._with_limit, key) for key in SAFER}
        grippers = {
            f'arms.{arm}.gripper.{key}': partial(self._with_gripper, arm, key)
            for arm in self.embodiment.arm_names
            for key in GRIPPER
        }
        warm_start = {'policy.warm_start_time': self._with_warm_start}
        return {k: self._parameter(f) for k, f in {**limits, **grippers, **warm_start}.items()}

    def check_checkpoint(self, checkpoint: str) -> None:
        """Refuse a checkpoint that does not exist, or any with a server."""
        if self.embodiment.policy.server_url:
            raise ConfigError('policy.server_url is asked: there is no checkpoint to change')
        if not checkpoint:
            raise ConfigError('policy.checkpoint must name a checkpoint')
        checkpoint_folder(checkpoint, working_folder=False)

    def _parameter(self, changed: Callable[[Any], Embodiment]) -> LiveParameter:
        return LiveParameter(check=changed, apply=lambda value: self._use(changed(value)))

    def _use(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self._runtime.retune(embodiment)

    def _with_limit(self, key: str, value: float) -> Embodiment:
        limits, armed = self.embodiment.limits, self._runtime.control.armed
        limits = with_limit(limits, key, value, given=self._given.limits, armed=armed)
        return replace(self.embodiment, limits=limits)

    def _with_gripper(self, arm: str, key: str, value: float) -> Embodiment:
        arms = self.embodiment.arms
        gripper = replace(arms[arm].gripper, **{key: value})
        changed = replace(arms[arm], gripper=gripper)
        return replace(self.embodiment, arms={**arms, arm: changed})

    def _with_warm_start(self, time: float) -> Embodiment:
        policy = with_warm_start(self.embodiment.policy, time)
        return replace(self.embodiment, policy=policy)
