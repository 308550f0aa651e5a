# SPDX-License-Identifier: Apache-2.0
"""Steps of our trainer on one batch, and the same network and batch for lerobot."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import time

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.adapt.demo.small_network import demo_config, demo_tokenizer, IMAGE_SIDE
from xvla_ros.adapt.trainer.arithmetic import invented_batch, VIEWS
from xvla_ros.adapt.trainer.batches import Batch
from xvla_ros.adapt.trainer.forward import encode
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.optimisation import Descent, parameters_of
from xvla_ros.adapt.trainer.stages import Stage, two_steps
from xvla_ros.adapt.trainer.trainer import Trainer
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.config import HEAD_DROPOUT
from xvla_ros.model.conversion import convert
from xvla_ros.model.reading import read_config
from xvla_ros.model.writing import save_policy
from xvla_ros.model.xvla import build_network

# Seconds, and seconds of processor time, which other work on the machine hardly lengthens.
Spent = tuple[float, float]
# The stages of an adaptation, and the figures that their steps have.
STAGES = {'all': 'adapt.step', 'frozen': 'adapt.frozen_step'}
MANY = 10**6
CAMERAS = ('observation.images.image', 'observation.images.image2', 'observation.images.image3')


def timed(work: Callable[[], object]) -> Spent:
    """Do some work."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def write_checkpoints(folder: Path) -> tuple[Path, Path]:
    """Write the demo's network, with X-VLA's own dropout, for us and for lerobot."""
    mine, theirs = folder / 'checkpoint', folder / 'checkpoint-lerobot'
    if not theirs.exists():
        config = replace(demo_config(), head_dropout=HEAD_DROPOUT)
        size = IMAGE_SIDE, IMAGE_SIDE
        save_policy(mine, build_network(config), demo_tokenizer(), size)
        convert(mine, theirs, 'lerobot')
    return mine, theirs


class Again:
    """A source whose every batch is the same; in a stage that caches, it is encoded before."""

    def __init__(self, batch: Batch, student: Student) -> None:
        self.batch, self._student = batch, student

    def enter(self, stage: Stage, span: tuple[int, int]) -> None:
        """Encode the batch, as a real source does once for each sample."""
        if stage.caches:
            with torch.no_grad(), self._student.arithmetic():
                encoded, auxiliary = encode(self._student.network, self.batch)
            none = self.batch.pixels[:0]
            self.batch = replace(self.batch, pixels=none, encoded=encoded, auxiliary=auxiliary)

    def draw(self, step: int) -> Batch:
        """Return the batch."""
        return self.batch

    def facts(self) -> dict[str, object]:
        """Return nothing: no run goes on."""
        return {}


class OurTraining:
    """Our trainer in one stage of an adaptation."""

    def __init__(self, checkpoint: Path, stage: str, dtype: torch.dtype, batch: int) -> None:
        """
        Load the network.

        :param stage: of STAGES. batch: samples.
        """
        network = load_network(checkpoint, read_config(checkpoint), torch.float32)
        student = Student(network=network, dtype=dtype)
        frozen = MANY if stage == 'frozen' else 0
        plan = two_steps(frozen_steps=frozen, steps=MANY - frozen, warmup=1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.batch = invented_batch(batch)
        self.network, self.source = network, Again(self.batch, student)
        self._trainer = Trainer(student, self.source, plan, Descent(), enter=self.source.enter)

    def step(self) -> Spent:
        """Take one step."""
        return timed(self._trainer.step)

    @property
    def trained(self) -> int:
        """How many numbers a step trains."""
        parts = parameters_of(self.network)
        rates = self._trainer.plan.stages[self._trainer.plan.locate(0)[0]].rates
        return sum(p.numel() for part in rates for p in parts[part].values())

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._trainer._feed.close()


def their_batch(batch: Batch) -> dict[str, NDArray[np.generic]]:
    """Return a batch under lerobot's names; a camera that does not exist is left out."""
    views = batch.pixels.unflatten(0, (-1, VIEWS)).unbind(1)
    images = {name: view.numpy() for name, view in zip(CAMERAS, views, strict=False)}
    return images | {
        'observation.language.tokens': batch.tokens.numpy(),
        'observation.state': batch.proprio.numpy(),
        'action': batch.actions.numpy(),
        'domain_id': batch.domain.numpy(),
    }
