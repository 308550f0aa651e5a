# SPDX-License-Identifier: Apache-2.0
"""Train the demo policy from scratch: record the expert, ground, train, write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from xvla_ros.adapt.demo.initialisation import set_scales
from xvla_ros.adapt.demo.mixture import Mixture
from xvla_ros.adapt.demo.objectives import (
    ACT,
    anchor_errors_mm,
    NAMED,
    named_accuracy,
    new_student,
    OBJECTIVES,
    Recipe,
)
from xvla_ros.adapt.demo.recording import recorded, SamplePlan, SampleRecorder
from xvla_ros.adapt.demo.samples import Samples
from xvla_ros.adapt.demo.small_network import demo_config, demo_tokenizer, IMAGE_SIDE
from xvla_ros.adapt.trainer.optimisation import Descent, weights
from xvla_ros.adapt.trainer.progress import Progress, training_folder
from xvla_ros.adapt.trainer.saving import restore_state, save_state
from xvla_ros.adapt.trainer.trainer import Step, Trainer
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.tokenizer import TextProcessor
from xvla_ros.model.writing import save_policy
from xvla_ros.model.xvla import build_network
from xvla_ros.sim.scenes import TRAIN

# Share of recorded scenes that no step is trained on.
HELD_OUT = 0.05
HELD_OUT_BATCH = 120
# Runs are short, so Adam's second beta is lower than usual; the running mean is what is written.
DESCENT = Descent(betas=(0.9, 0.98), decay=0.01, mean=0.998)
# Name of the result in `resource/` and in the embodiment files.
CHECKPOINT = 'demo_policy'


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """
    Where things go and how much is done.

    samples: folder of recordings, one folder per robot inside; memory (/dev/shm) is best.
    """

    samples: Path
    checkpoint: Path
    recipe: Recipe
    scenes: int = 1200
    states: int = 9
    dtype: torch.dtype = torch.float32


def record_all(embodiments: Sequence[Embodiment], job: Job) -> list[Samples]:
    """Record every robot that has no recording of this plan yet."""
    plan = SamplePlan(scenes=job.scenes, states=job.states, purpose=TRAIN, seed=job.recipe.seed)
    return [recorded(SampleRecorder, e, job.samples / e.robot, plan) for e in embodiments]


def split(samples: Samples) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices for training, and those of the last scenes, which are held out."""
    scenes = int(samples.scene.max()) + 1
    first = scenes - max(1, round(HELD_OUT * scenes))
    return samples.of_scenes(0, first), samples.of_scenes(first, scenes)


class DemoTraining:
    """One training run of the demo policy on recorded samples."""

    def __init__(self, sources: Sequence[Samples], job: Job) -> None:
        self.job, self.sources = job, sources
        self.tokenizer = demo_tokenizer()
        config, recipe = demo_config(), job.recipe
        network = build_network(config, seed=recipe.seed, attention='eager')
        set_scales(network.transformer, sources, config.num_actions, recipe.seed)
        self.student = new_student(network, recipe.seed, job.dtype)
        train, held_out = zip(*map(split, sources), strict=True)
        pairs = list(zip(sources, held_out, strict=True))
        self.held_out = mixture(pairs, recipe.seed, HELD_OUT_BATCH, jitter=False).draw(0)
        pairs = list(zip(sources, train, strict=True))
        self.trainer = Trainer(
            self.student, mixture(pairs, recipe.seed, recipe.batch), recipe.plan(), DESCENT,
            seed=recipe.seed, objectives=OBJECTIVES,
        )  # fmt: skip

    def run(self, resume: bool = False) -> None:
        """Train all stages and write the checkpoint; `resume`: go on where a run stopped."""
        state = training_folder(self.job.checkpoint)
        if resume:
            restore_state(state, self.trainer)
        with Progress(self.trainer, state) as progress:
            self.trainer.run(lambda step: self._after(step, progress))
        with weights(self.student.network, self._mean()):
            self.write()

    def _mean(self) -> dict[str, torch.Tensor] | None:
        return self.trainer.mean.state if self.trainer.mean else None

    def write(self) -> None:
        """Write the network with its current weights."""
        size = (IMAGE_SIDE, IMAGE_SIDE)
        save_policy(self.job.checkpoint, self.student.network, self.tokenizer, size, torch.float16)

    def _after(self, step: Step, progress: Progress) -> None:
        progress.show(step)
        if step.number % self.job.recipe.report and step.number < self.trainer.plan.steps:
            return
        self._report(step)
        save_state(training_folder(self.job.checkpoint), self.trainer)

    def _report(self, step: Step) -> None:
        """Print the errors on held-out scenes."""
        if step.stage == NAMED:
            right = named_accuracy(self.student, self.held_out)
            tqdm.write(f'  {step.number} steps: named cell right {right:.0%}')
        if step.stage == ACT:
            with weights(self.student.network, self._mean()):
                errors = anchor_errors_mm(self.student, self.held_out, self.job.recipe.seed)
            tqdm.write(f'  {step.number} steps: {self._listed(errors)}')

    def _listed(self, errors: dict[int, tuple[float, float]]) -> str:
        names = {s.layout.domain_id: s.layout.robot for s in self.sources}
        return ', '.join(
            f'{names[d]} {mean:.1f} mm (last, flat {end:.1f})' for d, (mean, end) in errors.items()
        )


def mixture(
    pairs: Sequence[tuple[Samples, NDArray[np.intp]]], seed: int, batch: int, jitter: bool = True
) -> Mixture:
    """Draw batches of so many samples from recordings, prepared for the demo policy."""
    # A tokenizer of its own: padding is the processor's, not part of what is saved.
    config = demo_config()
    text = TextProcessor(demo_tokenizer(), config.text_length)
    images, views = ImageProcessor((IMAGE_SIDE, IMAGE_SIDE)), config.view_slots
    return Mixture(pairs, text, images, views, seed=seed, batch=batch, jitter=jitter)


def demo_embodiments() -> list[Embodiment]:
    """Return every simulated embodiment in `config/` that runs the demo policy, by domain."""
    files = sorted(shared_file('config', '').glob('*_sim.yaml'))
    found = [load_embodiment(file) for file in files]
    used = [e for e in found if e.policy.checkpoint == CHECKPOINT]
    return sorted(used, key=lambda embodiment: embodiment.policy.domain_id)
