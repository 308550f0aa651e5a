# SPDX-License-Identifier: Apache-2.0
"""The demo policy, from nothing: record the expert on every robot, ground, train, write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import time

import numpy as np
import torch
from tqdm import tqdm

from xvla_ros.adapt.initialisation import set_scales
from xvla_ros.adapt.mixture import Mixture
from xvla_ros.adapt.recording import Plan, Recorder
from xvla_ros.adapt.samples import open_samples, Samples
from xvla_ros.adapt.small_network import demo_config, demo_tokenizer, IMAGE_SIDE
from xvla_ros.adapt.training import ground, new_student, Recipe, Student, train_policy, weights
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.model.processor import ImageProcessor, TextProcessor
from xvla_ros.model.writing import save_policy
from xvla_ros.model.xvla import build_network
from xvla_ros.sim.scenes import TRAIN

# Share of recorded scenes that no step is trained on.
HELD_OUT = 0.05
HELD_OUT_BATCH = 120
# Name of the result in `resource/` and in the embodiment files.
CHECKPOINT = 'demo_policy'


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """
    Where things go and how much is done.

    samples: folder of recordings, one folder per robot inside; memory (/dev/shm) is best.
    checkpoint: folder of the result, also written at every `publish_s` seconds of training.
    """

    samples: Path
    checkpoint: Path
    recipe: Recipe
    scenes: int = 1200
    states: int = 9
    publish_s: float = 150.0


def record_all(embodiments: Sequence[Embodiment], job: Job) -> list[Samples]:
    """Record every robot that has no recording of this plan yet."""
    return [recorded(embodiment, job) for embodiment in embodiments]


def recorded(embodiment: Embodiment, job: Job) -> Samples:
    """Open one robot's recording, made first when it is missing."""
    folder = job.samples / embodiment.robot
    plan = Plan(scenes=job.scenes, states=job.states, purpose=TRAIN, seed=job.recipe.seed)
    done = folder / 'done'
    if done.exists() and done.read_text() == repr(plan):
        return open_samples(folder)
    done.unlink(missing_ok=True)
    begin = time.monotonic()
    samples = Recorder(embodiment).record(folder, plan)
    tqdm.write(f'{embodiment.robot}: recorded in {(time.monotonic() - begin) / 60:.1f} min')
    done.write_text(repr(plan))
    return samples


def split(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices for training, and those of the last scenes, which are held out."""
    scenes = int(samples.scene.max()) + 1
    first = scenes - max(1, round(HELD_OUT * scenes))
    return samples.of_scenes(0, first), samples.of_scenes(first, scenes)


class DemoTraining:
    """One training run of the demo policy on recorded samples."""

    def __init__(self, sources: Sequence[Samples], job: Job) -> None:
        self.job, self.sources = job, sources
        self.tokenizer = demo_tokenizer()
        config = demo_config()
        network = build_network(config, seed=job.recipe.seed, attention='eager')
        set_scales(network.transformer, sources, config.num_actions, job.recipe.seed)
        self.student: Student = new_student(network, job.recipe.seed)
        # A tokenizer of its own: padding is the processor's, not part of what is saved.
        text = TextProcessor(demo_tokenizer(), config.text_length)
        images = ImageProcessor((IMAGE_SIDE, IMAGE_SIDE))
        train, held_out = zip(*map(split, sources), strict=True)
        seed, views = job.recipe.seed, config.view_slots
        pairs = list(zip(sources, train, strict=True))
        self.mixture = Mixture(pairs, text, images, views, seed)
        pairs = list(zip(sources, held_out, strict=True))
        self.held_out = Mixture(pairs, text, images, views, seed, jitter=False).draw(
            HELD_OUT_BATCH
        )
        self.published = time.monotonic()

    def run(self) -> None:
        """Train all stages and write the checkpoint."""
        begin = time.monotonic()
        ground(self.student, self.mixture, self.held_out, self.job.recipe)
        tqdm.write(f'grounded in {(time.monotonic() - begin) / 60:.1f} min')
        final = train_policy(
            self.student, self.mixture, self.held_out, self.job.recipe, self._publish
        )
        with weights(self.student.network, final):
            self.write()
        tqdm.write(f'trained in {(time.monotonic() - begin) / 60:.1f} min')

    def write(self) -> None:
        """Write the network as it is now."""
        size = (IMAGE_SIDE, IMAGE_SIDE)
        save_policy(self.job.checkpoint, self.student.network, self.tokenizer, size, torch.float16)

    def _publish(self, errors: dict[int, tuple[float, float]], step: int) -> None:
        """Print the errors on held-out scenes, and write a checkpoint now and then."""
        names = {s.layout.domain_id: s.layout.robot for s in self.sources}
        parts = [
            f'{names[d]} {mean:.1f} mm (last, flat {end:.1f})' for d, (mean, end) in errors.items()
        ]
        tqdm.write(f'  {step} steps: ' + ', '.join(parts))
        if time.monotonic() - self.published > self.job.publish_s:
            self.published = time.monotonic()
            self.write()


def demo_embodiments() -> list[Embodiment]:
    """Return every simulated embodiment in `config/` that runs the demo policy, by domain."""
    files = sorted(shared_file('config', '').glob('*_sim.yaml'))
    found = [load_embodiment(file) for file in files]
    used = [e for e in found if e.policy.checkpoint == CHECKPOINT]
    return sorted(used, key=lambda embodiment: embodiment.policy.domain_id)
