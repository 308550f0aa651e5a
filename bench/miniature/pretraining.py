# SPDX-License-Identifier: Apache-2.0
"""Pre-trains the demo's small network on two robots, and records few scenes of a third."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.miniature.size import Place, Size
from xvla_ros.adapt.demo.demo_policy import DemoTraining, Job, record_all
from xvla_ros.adapt.demo.objectives import Recipe
from xvla_ros.adapt.demo.recording import recorded, SamplePlan, SampleRecorder
from xvla_ros.adapt.demo.samples import Samples
from xvla_ros.adapt.trainer.progress import training_folder
from xvla_ros.adapt.trainer.saving import STATE
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.sim.scenes import TRAIN, VALIDATE


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRobot:
    """The robot that is adapted to: few scenes for training, and others that are held out."""

    embodiment: Embodiment
    samples: Samples
    held_out: Samples

    @property
    def row(self) -> int:
        """Return the row of the network that is the robot's."""
        return self.samples.layout.domain_id


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
    """Record the scenes of the robot that is adapted to."""
    few = SamplePlan(scenes=size.few, states=size.states, purpose=TRAIN, seed=size.seed)
    rest = SamplePlan(
        scenes=size.held_out, states=size.states, purpose=VALIDATE, seed=size.seed + 1
    )
    folder = place.samples / embodiment.robot
    return NewRobot(
        embodiment=embodiment,
        samples=recorded(SampleRecorder, embodiment, folder, few),
        held_out=recorded(SampleRecorder, embodiment, Path(f'{folder}-held-out'), rest),
    )


def everything(samples: Samples) -> tuple[Samples, NDArray[np.intp]]:
    """Return samples and the indices of all of them."""
    return samples, np.arange(len(samples))
