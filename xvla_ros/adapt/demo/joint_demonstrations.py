# SPDX-License-Identifier: Apache-2.0
"""Demonstrations in joint space: each is the expert's plan from a state of a noisy episode."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvla_ros.adapt.demo.joint_recording import JointRecorder
from xvla_ros.adapt.demo.recording import recorded, SamplePlan
from xvla_ros.adapt.demo.samples import Samples
from xvla_ros.adapt.demo.small_network import COLOURS, instructions
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.core.resources import shared_file
from xvla_ros.data.episodes import Episode, Images
from xvla_ros.sim.scenes import TRAIN

# States that are recorded in each scene.
STATES = 5


def joint_demonstrations(
    embodiment: Embodiment, scenes: int, seed: int, folder: Path
) -> list[Episode]:
    """
    Return the expert's plans in so many scenes: from five states in each, to each block.

    :param folder: of recordings; one that is complete is used again.
    :raises ConfigError: the robot has no simulation, or does not reach its blocks.
    """
    plan = SamplePlan(scenes=scenes, states=STATES, purpose=TRAIN, seed=seed)
    samples = recorded(JointRecorder, embodiment, folder / embodiment.robot, plan)
    return list(PlanEpisodes(embodiment, samples, seed))


class PlanEpisodes:
    """Makes an episode of each recorded plan. Those of one scene have the same name."""

    def __init__(self, embodiment: Embodiment, samples: Samples, seed: int) -> None:
        """Read the arms' kinematics."""
        self.embodiment, self.samples, self.seed = embodiment, samples, seed
        self.profile, self.period_s = JointProfile(embodiment), embodiment.policy.anchor_period_s
        arms = embodiment.arms.values()
        self.arms = [
            Kinematics(
                shared_file('resource', arm.urdf), arm.tool_frame, arm.joint_names,
                forward_only=True,
            )
            for arm in arms
        ]  # fmt: skip
        self.names = tuple(f'{n}/{j}' for n, a in embodiment.arms.items() for j in a.joint_names)

    def __iter__(self) -> Iterator[Episode]:
        """Yield the plans of each state to each block; the words are drawn."""
        random = np.random.default_rng(self.seed)
        for index in range(len(self.samples)):
            for colour, plan in zip(COLOURS, self.samples.actions[index], strict=True):
                words = random.choice(instructions(colour))
                if np.isfinite(plan).all():
                    yield self._episode(index, str(words), plan)

    def _episode(self, index: int, words: str, plan: NDArray[np.float32]) -> Episode:
        actions = self.profile.chunk(plan, stamp_ns=0).actions
        joints, openings, tools, first = [], [], [], 0
        for arm in self.arms:
            count = len(arm.joint_names)
            mine = actions[:, first : first + count + 1]
            joints.append(mine[:, :count])
            openings.append(mine[:, count])
            tools.append([arm.forward(q) for q in mine[:, :count]])
            first += count + 1
        return Episode(
            name=f'scene {self.seed}/{self.samples.scene[index]}',
            instruction=words,
            times_s=self.period_s * np.arange(len(plan), dtype=np.float64),
            positions=np.array([[p for p, _ in row] for row in tools]).swapaxes(0, 1),
            quaternions=np.array([[q for _, q in row] for row in tools]).swapaxes(0, 1),
            openings=np.array(openings).T,
            joints=np.hstack(joints),
            joint_names=self.names,
            look=partial(self._look, index),
            starts=(0, 1),  # later frames have no images of their own
        )

    def _look(self, index: int, frame: int) -> Images:
        return tuple(np.array(self.samples.images[index]))
