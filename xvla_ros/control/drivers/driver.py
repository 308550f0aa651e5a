# SPDX-License-Identifier: Apache-2.0
"""
The common interface of all drivers, so that the controller does not depend on the robot.

A driver first plans and then sends. A plan shows whether the arm can follow the target before
anything moves. Plans are sent only when all arms of a robot have one. Importing this package needs
no ROS; creating a driver does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.joint_path import JointPath
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import ArmSettings, GripperSettings

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ArmStep:
    """
    The next command of one arm.

    target: pose that the tool should have. joints: (n,) [rad] in the settings' order, None for
    Cartesian controllers. reachable: False if the arm cannot get there from its position; joints
    then lead to the nearest reachable pose. reasons: changes to the target, and why. path: the way
    on after the step, its first row `joints`; None for drivers that take one point.
    """

    target: ArmPose
    joints: Vector | None = None
    reachable: bool = True
    reasons: tuple[str, ...] = ()
    path: JointPath | None = None


class ArmDriver(ABC):
    """
    One arm's command interface, published by an rclpy node. Used from one thread.

    :raises ConfigError: by the constructor: messages are not installed, or it needs kinematics
        and got none.
    """

    # Whether the driver keeps pulling the arm to its last target during a hold, as an impedance
    # controller does. If such an arm is moved by hand, it needs a new target where it comes to
    # rest. Position servos do not give way.
    pulls_to_target = False

    def __init__(self, node: Any, arm: ArmSettings, kinematics: Kinematics | None) -> None:
        self._node = node
        self._arm = arm
        self._kinematics = kinematics

    def trouble(self) -> str:
        """Return why the arm cannot be commanded now, or an empty string."""
        return ''

    def observe(self, measured: ArmPose) -> None:
        """Receive the measured pose and gripper before each step; most drivers ignore it."""
        return

    def implausible(self, joints: Vector) -> str:
        """Return why measured joints (n,) cannot be radians; empty when they can."""
        return ''

    def objection(self, target: ArmPose, joints: Vector) -> str:
        """Return why joints (n,) [rad] cannot be moved to a target; empty when they can."""
        return ''

    @abstractmethod
    def plan(self, target: ArmPose, joints: Vector, dt_s: float) -> ArmStep:
        """
        Return the next step towards a target without commanding anything.

        :param joints: measured joints (n,) [rad]. :param dt_s: duration of the step.
        """

    @abstractmethod
    def send(self, plan: ArmStep) -> None:
        """Send a plan to the arm."""

    @abstractmethod
    def hold(self, measured: ArmPose, joints: Vector) -> None:
        """Stop the arm where it is. Called once at the end of a motion."""

    def forget(self) -> None:
        """Start the next step from the measured joints instead of the commanded ones."""
        return


class GripperDriver(ABC):
    """One gripper's command interface."""

    @abstractmethod
    def send(self, opening: float) -> None:
        """Command an opening, 0 closed to 1 open; NaN changes nothing. Never blocks."""

    def hold(self) -> None:
        """Drop waiting commands; most drivers have none."""
        return


def other_publishers(node: Any, publisher: Any) -> str:
    """Return that others publish to a controller which accepts one publisher; empty for none."""
    topic = publisher.topic_name
    others = node.count_publishers(topic) - 1
    if others > 0:
        return f'{others} other publisher(s) on {topic}: the controller accepts one only'
    return ''


def messages(module: str, package: str) -> Any:
    """
    Import a module of messages that may not be installed.

    :param package: apt package that brings it, or "from source: ..." where there is none.
    :raises ConfigError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        how = package if package.startswith('from source') else f'sudo apt install {package}'
        raise ConfigError(f'{module} is not installed and this driver needs it: {how}') from error


def command_value(gripper: GripperSettings, opening: float) -> float:
    """Return the command for an opening, 0 closed to 1 open, in the driver's unit."""
    share = min(max(opening, 0.0), 1.0)
    return gripper.command_closed + share * (gripper.command_open - gripper.command_closed)


class OnChange:
    """Calls a function only when an opening changes: an action may take 1 s (libfranka#226)."""

    def __init__(self, command: Callable[[float], None], least: float = 0.05) -> None:
        self._command = command
        self._least = least
        self._last = np.nan

    def __call__(self, opening: float) -> None:
        """Send the opening if it is a number and differs from the last one."""
        if np.isnan(opening) or abs(opening - self._last) < self._least:
            return
        self._last = opening
        self._command(opening)

    def forget(self) -> None:
        """Send the next opening even if it equals the last one."""
        self._last = np.nan
