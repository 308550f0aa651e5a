# SPDX-License-Identifier: Apache-2.0
"""How `xvla adapt --source DATASET` reads a LeRobot dataset: each image once, then batches."""

from dataclasses import replace
from pathlib import Path

import torch

from bench.adapt_steps import Spent, timed
from xvla_ros.adapt.dataset import Dataset, Preparation
from xvla_ros.adapt.demo.demonstrations import Demonstrator
from xvla_ros.adapt.feeding import EpisodeBatches
from xvla_ros.adapt.judging import maker_of
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.data.context import Context
from xvla_ros.data.opening import load_episodes, open_source
from xvla_ros.data.writers.lerobot import write
from xvla_ros.data.writers.options import WriteOptions
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.loading import read_processors
from xvla_ros.model.reading import read_config

# Cameras as on most real robots.
WIDTH, HEIGHT = 640, 480


def robot() -> Embodiment:
    """Return the simulated robot that is recorded, with larger images than it has."""
    embodiment = load_embodiment(shared_file('config', 'franka_sim.yaml'))
    assert embodiment.sim is not None
    sim = replace(embodiment.sim, image_width=WIDTH, image_height=HEIGHT)
    return replace(embodiment, sim=sim)


def make_dataset(folder: Path, episodes: int) -> Path:
    """Write demonstrations as a LeRobot v3.0 dataset with AV1 videos."""
    embodiment = robot()
    recorded = [
        replace(episode, cameras=embodiment.camera_names)
        for episode in Demonstrator(embodiment).record(episodes, seed=0)
    ]
    write(folder, recorded, WriteOptions(robot=embodiment.robot, arms=embodiment.arm_names))
    return folder


class Feeding:
    """The samples of a dataset for a checkpoint."""

    def __init__(self, dataset: Path, checkpoint: Path, batch: int) -> None:
        """Open the dataset; no image is read yet."""
        config = read_config(checkpoint)
        network = load_network(checkpoint, config, torch.float32)
        preparation = Preparation.of(network, *read_processors(checkpoint, config))
        embodiment = robot()
        episodes = load_episodes(open_source(dataset), Context(embodiment=embodiment))
        self.data = Dataset(episodes, maker_of(embodiment, preparation.anchors), preparation)
        self._source = EpisodeBatches(self.data, Student(network=network), 0, batch, seed=0)
        self._file = dataset.with_name('images.npy')
        self._step, self.batches = 0, len(self.data) // batch
        self.samples = self.batches * batch
        self.anchors, self.period_s = config.num_actions, embodiment.policy.anchor_period_s
        self.views, self.size = len(embodiment.camera_names), f'{WIDTH}x{HEIGHT}'

    def first(self) -> Spent:
        """Read every image once, from the videos, and draw each sample once."""
        return timed(lambda: (self._read(), self._draw()))

    def later(self) -> Spent:
        """Draw each sample once, colours jittered."""
        return timed(self._draw)

    def _read(self) -> None:
        self.data._shrunk = None
        self.data.shrink(self._file)

    def _draw(self) -> None:
        for _ in range(self.batches):
            self._source.draw(self._step)
            self._step += 1
