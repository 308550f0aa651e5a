# SPDX-License-Identifier: Apache-2.0
"""What readers are given beside a source file, and what they yield."""

from dataclasses import dataclass

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.data.episodes import Episode
from xvla_ros.data.errors import DataError
from xvla_ros.replay.graph import Transforms

# A reader continues after a wrong episode, so that a check reports all of them.
Result = Episode | DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """
    The robot that the data is read for, where one is known.

    embodiment: gives topics of bags, and URDFs for poses from joints. transforms: reads a bag's
    TF, where ROS is.
    """

    embodiment: Embodiment | None = None
    transforms: Transforms | None = None
