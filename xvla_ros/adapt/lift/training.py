# SPDX-License-Identifier: Apache-2.0
"""Teaches one checkpoint to several robots' demonstrations at once; all rows learn together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import json

import numpy as np
import torch

from xvla_ros.adapt.dataset import Dataset, Preparation
from xvla_ros.adapt.feeding import EpisodeBatches
from xvla_ros.adapt.job import flat
from xvla_ros.adapt.joints.statistics import check_poses
from xvla_ros.adapt.judging import measure
from xvla_ros.adapt.lift.together import Together
from xvla_ros.adapt.options import Options
from xvla_ros.adapt.output import Files, write_policy
from xvla_ros.adapt.rows import check_row
from xvla_ros.adapt.split import split
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.optimisation import Descent, weights
from xvla_ros.adapt.trainer.progress import Progress, training_folder
from xvla_ros.adapt.trainer.saving import restore_state, save_state
from xvla_ros.adapt.trainer.trainer import Step, Trainer
from xvla_ros.adapt.windows import AnyErrors, WindowMaker
from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.data.episodes import Episode
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.loading import read_processors
from xvla_ros.model.policy import Policy
from xvla_ros.model.reading import read_config
from xvla_ros.model.writing import write_json
from xvla_ros.runtime.predictor import as_told


@dataclass(frozen=True, kw_only=True, slots=True)
class Robot:
    """A robot with its demonstrations; its row is the embodiment's `policy.domain_id`."""

    embodiment: Embodiment
    episodes: Sequence[Episode]


class LiftTraining:
    """A checkpoint, the demonstrations of all robots and the trainer, ready to run."""

    def __init__(self, robots: Sequence[Robot], options: Options) -> None:
        """
        Load the checkpoint and make the samples; nothing is trained or written yet.

        :param options: row and from_row are not used: every robot trains its own row.
        :raises CheckpointError: the checkpoint cannot be read. ConfigError: the data does not fit
            it, or two robots have one row.
        """
        self.options, self.folder = options, checkpoint_folder(options.checkpoint)
        config = read_config(self.folder)
        images, text = read_processors(self.folder, config)
        network = load_network(self.folder, config, torch.float32)
        check_poses(self.folder, network)
        self.student = Student(network=network.to(options.device), dtype=options.dtype)
        self.preparation = Preparation.of(network, images, text)
        self.rows = rows_of(robots)
        for row in self.rows.values():
            check_row(network, row, 'policy.domain_id')
        self.data: dict[str, Dataset] = {}
        self.held_out: dict[str, Dataset] = {}
        for robot in robots:
            self._take(robot)
        self.best: float | None = None
        self.trainer = self._trainer()

    def _take(self, robot: Robot) -> None:
        """Make the samples of a robot."""
        told = as_told(robot.embodiment, self.student.network.config.first_anchor_index)
        maker = WindowMaker(told, self.preparation.anchors)
        parts = split(robot.episodes, self.options.held_out, self.options.seed)
        data, held_out = (Dataset(part, maker, self.preparation) for part in parts)
        self.data[told.robot], self.held_out[told.robot] = data, held_out

    def _trainer(self) -> Trainer:
        options = self.options
        source = Together(
            [
                EpisodeBatches(
                    data, self.student, self.rows[name], max(1, options.batch // len(self.data)),
                    options.seed, jitter=options.jitter,
                )
                for name, data in self.data.items()
            ]
        )  # fmt: skip
        descent = Descent(betas=(0.9, 0.98), decay=0.01, mean=options.mean)
        return Trainer(
            self.student, source, options.plan, descent, seed=options.seed, enter=source.enter
        )

    def run(self, report: Callable[[str], None], resume: bool = False) -> dict[str, object]:
        """
        Train, measure the held-out episodes now and then, and keep the best.

        :return: what is written to `metrics.json`; empty when nothing was kept.
        """
        state = training_folder(self.options.out)
        state.mkdir(parents=True, exist_ok=True)
        if resume:
            self.best = restore_state(state, self.trainer)['best']
        for name in self.data:
            self.data[name].shrink(state / f'images-{name}.npy')
            self.held_out[name].shrink(state / f'held-out-{name}.npy')
        with Progress(self.trainer, state, tensorboard=self.options.tensorboard) as progress:
            if not resume:
                self._check(0, progress, report)
            self.trainer.run(lambda step: self._after(step, progress, report))
        written = state / 'metrics.json'
        metrics: dict[str, object] = json.loads(written.read_text()) if written.exists() else {}
        return metrics

    def _after(self, step: Step, progress: Progress, report: Callable[[str], None]) -> None:
        progress.show(step)
        if step.number % self.options.check and step.number < self.trainer.plan.steps:
            return
        self._check(step.number, progress, report)
        save_state(training_folder(self.options.out), self.trainer, best=self.best)

    def _check(self, step: int, progress: Progress, report: Callable[[str], None]) -> None:
        """Measure the held-out episodes; write the policy where it is the best so far."""
        mean = self.trainer.mean.state if self.trainer.mean and step else None
        with weights(self.student.network, mean):
            errors = {name: self.errors(name) for name in self.held_out}
            score = float(np.mean([each.score for each in errors.values()]))
            kept = step > 0 and (self.best is None or score < self.best)
            if kept:
                self.best = score
                self._write(errors, step)
        for name, each in errors.items():
            numbers = {f'{name}/{key}': value for key, value in flat(each).items()}
            progress.write(step, numbers)
            report(f'  {step} steps, {name}: {each.line()}{", kept" if kept else ""}')

    def errors(self, name: str) -> AnyErrors:
        """Return the errors of the network as it is on a robot's held-out episodes."""
        images, text = self.preparation.images, self.preparation.text
        policy = Policy(self.student.network, images, text, self.options.device)
        data, options = self.held_out[name], self.options
        samples = data.spread(options.samples)
        return measure(policy, data, samples, self.rows[name], options.denoising)

    def _write(self, errors: Mapping[str, AnyErrors], step: int) -> None:
        """Write the checkpoint in float16, as the shipped one, and the held-out errors."""
        options, network = self.options, self.student.network
        state = {name: tensor.half() for name, tensor in network.state_dict().items()}
        images = self.preparation.images
        files = Files(network=network, state=state, images=images, tokenizer=self.folder)
        write_policy(options.out, files)
        metrics = {
            'checkpoint': str(options.checkpoint),
            'steps': step,
            'seed': options.seed,
            'samples': {name: len(data) for name, data in self.data.items()},
            'held_out': {name: each.summary() for name, each in errors.items()},
        }
        write_json(training_folder(options.out) / 'metrics.json', metrics)


def rows_of(robots: Sequence[Robot]) -> dict[str, int]:
    """
    Return each robot's row by the robot's name.

    :raises ConfigError: two have the same.
    """
    rows = {robot.embodiment.robot: robot.embodiment.policy.domain_id for robot in robots}
    if len(set(rows.values())) < len(robots):
        raise ConfigError(f'policy.domain_id of each robot must be another one, got {rows}')
    return rows
