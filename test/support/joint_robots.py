# SPDX-License-Identifier: Apache-2.0
"""Robots in joint space, and chunks for them."""

from functools import cache

import numpy as np

from xvla_ros.control.robot_model import joint_space, RobotModel
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file

PERIOD_S = 0.0333
FILES = {
    'so101': ('so101_sim.yaml', {}),
    'so101_pair': ('so101_pair_sim.yaml', {}),
    'franka_joint': ('franka_joint_sim.yaml', {}),
    'aloha': ('aloha.yaml', {}),
}
ROBOTS = tuple(FILES)


class JointRobot:
    """One robot: its embodiment, model and space, and its home (N,) [rad]."""

    def __init__(self, name, **changes):
        file, known = FILES[name]
        self.embodiment = load_embodiment(shared_file('config', file), known | changes)
        self.model, self.space = RobotModel(self.embodiment), joint_space(self.embodiment)
        self.home = np.concatenate([arm.home_rad for arm in self.embodiment.arms.values()])
        self.counts = self.embodiment.joint_counts

    def arms(self, q, opening=0.5):
        """Return joints (N,) as measured arms."""
        parts = np.split(np.asarray(q, float), np.cumsum(self.counts)[:-1])
        return self.space.arms([(*part.tolist(), opening) for part in parts])

    def chunk(self, q, stamp_ns=0, sequence=1, opening=0.5, period_s=PERIOD_S):
        """Return joints (T, N) as a chunk."""
        columns = []
        for part in np.split(np.asarray(q, float), np.cumsum(self.counts)[:-1], axis=1):
            columns += [part, np.full((len(part), 1), opening)]
        return Chunk(
            stamp_ns=stamp_ns,
            period_s=period_s,
            actions=np.hstack(columns),
            sequence=sequence,
            joint_counts=self.counts,
        )


@cache
def joint_robot(name):
    """Return a robot as it is in its file."""
    return JointRobot(name)


def joints(arms):
    """Return the joints of all arms (N,)."""
    return np.concatenate([arm.joints for arm in arms])
