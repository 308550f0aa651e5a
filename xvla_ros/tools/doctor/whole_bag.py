# SPDX-License-Identifier: Apache-2.0
"""All checks of one bag."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.message_types import begins_with_header
from xvla_ros.bags.timeline import clock_offset_ns
from xvla_ros.bags.topics import as_recorded, observation_streams, recorded_name
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.findings import Finding, OK, PROBLEM
from xvla_ros.tools.doctor.bag import bag_findings
from xvla_ros.tools.doctor.bag_motion import MotionCheck


def whole_bag_findings(
    path: Path,
    embodiment: Embodiment | None,
    overrides: dict[str, object] | None = None,
    check: list[MotionCheck] | None = None,
) -> Iterator[Finding]:
    """
    Yield the findings for a bag, its streams and its motion.

    :param embodiment: the robot's; None: the recorded one, with overrides.
    :param check: list that gets the check of the motion, which can propose values.
    :raises ConfigError: no robot is known.
    """
    bag = open_bag(path)
    if embodiment is None:
        if bag.recording is None:
            raise ConfigError(f'{path}: not from `xvla record`: give its robot by --embodiment')
        embodiment = bag.recording.load_embodiment(str(path), overrides or {})
    embodiment = as_recorded(embodiment, bag.topics)
    yield Finding(level=OK, name='embodiment', found=embodiment.robot)
    yield from robot_of_file(replace(embodiment, sim=None))
    yield from bag_findings(bag, embodiment)
    names = {recorded_name(stream.topic, bag.topics) for stream in observation_streams(embodiment)}
    headed = [name for name in names if name and begins_with_header(bag.topics[name].kind)]
    motion = MotionCheck(bag, embodiment)
    if check is not None:
        check.append(motion)
    yield from motion.findings(clock_offset_ns(bag, headed))


def robot_of_file(embodiment: Embodiment) -> Iterator[Finding]:
    """Check the robot, as far as the packages are installed; other findings name missing ones."""
    try:
        from xvla_ros.tools.doctor.robot import robot_findings

        yield from robot_findings(embodiment)
    except ImportError as error:
        yield Finding(level=PROBLEM, name='robot', found=str(error))
