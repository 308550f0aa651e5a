# SPDX-License-Identifier: Apache-2.0
"""Pre-trains the demo's small network on two robots, and records few scenes of a third."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.miniature.size import Place, Size
from xvla_ros.adapt.demo.demo_policy import DemoTraining, Job, record_all, split
from xvla_ros.adapt.demo.objectives import Recipe
from xvla_ros.adapt.demo.recording import recorded, SamplePlan, SampleRecorder
from xvla_ros.adapt.demo.samples import Samples
from xvla_ros.adapt.trainer.progress import training_folder
from xvla_ros.adapt.trainer.saving import STATE
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.sim.scenes import TRAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRobot:
    """The robot that is adapted to: its samples for training and the held-out ones."""

    embodiment: Embodiment
    samples: Samples
    train: NDArray[np.intp]
    held_out: NDArray[np.intp]


def pretrain(embodiments: Sequence[Embodiment], size: Size, place: Place) -> None:
    """
    Write the pre-trained checkpoint by the recipe of the demo policy, unless there is one.

    A run that was stopped goes on.
    """
    job = pretraining(size, place)
    if place.given or (job.checkpoint / 'model.safetensors').exists():
        return
    stopped = (training_folder(job.checkpoint) / STATE).exists()
    DemoTraining(record_all(embodiments, job), job).run(resume=stopped)


def pretraining(size: Size, place: Place) -> Job:
    """Return what the pre-training does."""
    recipe = Recipe(
        tower_steps=size.tower_steps, grounding_steps=size.grounding_steps,
        policy_steps=size.policy_steps, seed=size.seed,
    )  # fmt: skip
    return Job(
        samples=place.samples, checkpoint=place.pretrained, recipe=recipe,
        scenes=size.scenes, states=size.states, dtype=place.dtype,
    )  # fmt: skip


def new_robot(embodiment: Embodiment, size: Size, place: Place) -> NewRobot:
    """Record the few scenes of the robot that is adapted to."""
    plan = SamplePlan(scenes=size.few, states=size.states, purpose=TRAIN, seed=size.seed)
    samples = recorded(SampleRecorder, embodiment, place.samples / embodiment.robot, plan)
    train, held_out = split(samples)
    return NewRobot(embodiment=embodiment, samples=samples, train=train, held_out=held_out)
