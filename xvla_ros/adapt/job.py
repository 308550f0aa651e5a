# SPDX-License-Identifier: Apache-2.0
"""One adaptation from a checkpoint and episodes to a policy for a robot."""

from collections.abc import Callable, Sequence
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import torch

from xvla_ros.adapt.dataset import Dataset, Preparation
from xvla_ros.adapt.feeding import EpisodeBatches
from xvla_ros.adapt.figures import curves, ERRORS
from xvla_ros.adapt.joints.network import answers_joints, in_joint_space
from xvla_ros.adapt.joints.output import write_joint_policy
from xvla_ros.adapt.joints.statistics import check_poses, kept_units, new_units, Units
from xvla_ros.adapt.judging import maker_of, measure
from xvla_ros.adapt.options import Options
from xvla_ros.adapt.output import Files, write_lerobot, write_policy
from xvla_ros.adapt.processes import Processes
from xvla_ros.adapt.rows import check_others, check_row, copy_row, fingerprints
from xvla_ros.adapt.split import split
from xvla_ros.adapt.trainer.lora import add_lora, merged
from xvla_ros.adapt.trainer.memory import expected, Memory
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.optimisation import Descent, weights
from xvla_ros.adapt.trainer.progress import lines, LOG, Progress, training_folder
from xvla_ros.adapt.trainer.saving import restore_state, save_state
from xvla_ros.adapt.trainer.trainer import Step, Trainer
from xvla_ros.adapt.views import make_room, silence_views
from xvla_ros.adapt.windows import AnyErrors
from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.data.episodes import Episode
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.loading import read_processors
from xvla_ros.model.policy import Policy
from xvla_ros.model.reading import read_config
from xvla_ros.model.writing import write_json
from xvla_ros.runtime.predictor import as_told

Report = Callable[[str], None]


class Adaptation:
    """A checkpoint, the data and the trainer, ready to run."""

    def __init__(
        self,
        episodes: Sequence[Episode],
        embodiment: Embodiment,
        options: Options,
        processes: Processes | None = None,
    ) -> None:
        """
        Load the checkpoint and make the samples; nothing is trained or written yet.

        :raises CheckpointError: the checkpoint cannot be read. ConfigError: the data, the rows or
            the options do not fit it.
        """
        self.options = options
        self.processes = processes or Processes()
        self.folder = checkpoint_folder(options.checkpoint)
        self.student, self.preparation, self.new_space = self._load(embodiment)
        network = self.student.network
        self.embodiment = as_told(embodiment, network.config.first_anchor_index)
        first = self.embodiment.policy.first_index
        network.config = replace(network.config, first_anchor_index=first)  # it is saved with it
        self.maker = maker_of(self.embodiment, self.preparation.anchors)
        train, held_out = split(episodes, options.held_out, options.seed)
        self.data = Dataset(train, self.maker, self.preparation)
        self.held_out = Dataset(held_out, self.maker, self.preparation)
        self.units = self._units()
        self.data.normalisation = self.held_out.normalisation = self.units.normalisation
        self.best: float | None = None
        self._others: tuple[str, ...] = ()

    def _load(self, embodiment: Embodiment) -> tuple[Student, Preparation, bool]:
        """Return the student, how it takes its inputs, and whether its action space is new."""
        options, config = self.options, read_config(self.folder)
        images, text = read_processors(self.folder, config)
        network = load_network(self.folder, config, torch.float32)
        check_row(network, options.row, '--row')
        new = embodiment.joint_space and not answers_joints(network, embodiment)
        if new:
            network = in_joint_space(network, embodiment, options.row, options.seed)
        elif not embodiment.joint_space:
            check_poses(self.folder, network)
        make_room(network, len(embodiment.camera_names), images.size)
        if options.silence:
            silence_views(network)
        student = Student(
            network=network.to(options.device),
            dtype=options.dtype,
            rank=self.processes.rank,
            world=self.processes.world,
            checkpointing=options.checkpointing,
        )
        return student, Preparation.of(network, images, text), new

    def _units(self) -> Units:
        """Return the units of training: those of the checkpoint, or new ones."""
        network = self.student.network
        if self.new_space:
            return new_units(network, self.embodiment, self.data.proprio, self.data.actions)
        return kept_units(self.folder, network) if self.embodiment.joint_space else Units()

    def prepare(self) -> None:
        """
        Copy the row, and make the trainer.

        :raises ConfigError: there is no such row.
        """
        options, network = self.options, self.student.network
        if options.from_row is not None:
            check_row(network, options.from_row, '--from-row')
        self._others = fingerprints(network)
        if options.from_row is not None:
            copy_row(network, options.from_row, options.row)
        if options.lora:
            add_lora(network, options.lora, options.seed)
        self.source = EpisodeBatches(
            self.data, self.student, options.row, options.batch, options.seed,
            jitter=options.jitter,
        )  # fmt: skip
        self.trainer = Trainer(
            self.student, self.source, options.plan, Descent(mean=options.mean),
            seed=options.seed, enter=self.source.enter, reduce=self.processes.reduce(),
        )  # fmt: skip

    def memory(self) -> dict[str, Memory]:
        """Return what each stage is expected to take, by its name."""
        size, batch = self.preparation.images.size, self.options.batch
        return {
            stage.name: expected(self.student, stage, batch, size, bool(self.options.mean))
            for stage in self.options.plan.stages
            if stage.steps
        }

    def run(self, report: Report, resume: bool = False) -> dict[str, Any]:
        """
        Train, check on the held-out episodes now and then, keep the best, and draw the curves.

        :return: what is written to `metrics.json`.
        """
        state = training_folder(self.options.out)
        state.mkdir(parents=True, exist_ok=True)
        if resume:
            self.best = restore_state(state, self.trainer)['best']
        first = self.processes.rank == 0
        self.data.shrink(state / f'images-{self.processes.rank}.npy')
        if first:  # the others do not look at the held-out episodes
            self.held_out.shrink(state / 'held-out.npy')
        options = self.options
        with Progress(
            self.trainer, state, tensorboard=options.tensorboard, quiet=not first
        ) as progress:
            if first and not resume:
                self._check(0, progress, report)
            self.trainer.run(lambda step: self._after(step, progress, report))
        return self._finish(state) if first else {}

    def _after(self, step: Step, progress: Progress, report: Report) -> None:
        progress.show(step)
        boundary = self.trainer.done == self.trainer.plan.steps
        if step.number % self.options.check and not boundary:
            return
        if self.processes.rank == 0:
            self._check(step.number, progress, report)
            save_state(training_folder(self.options.out), self.trainer, best=self.best)

    def _check(self, step: int, progress: Progress, report: Report) -> None:
        """Measure the held-out episodes; write the policy where it is the best so far."""
        mean = self.trainer.mean.state if self.trainer.mean and step else None
        with weights(self.student.network, mean), merged(self.student.network):
            errors = self.errors()
            progress.write(step, flat(errors))
            kept = step > 0 and (self.best is None or errors.score < self.best)
            if kept:
                self.best = errors.score
                self._write(errors, step)
        report(f'  {step} steps: {errors.line()}{", kept" if kept else ""}')

    def errors(self) -> AnyErrors:
        """Return the errors of the network as it is on the held-out episodes."""
        options, held_out = self.options, self.held_out
        policy = Policy(
            self.student.network, self.preparation.images, self.preparation.text, options.device,
            normalisation=self.units.normalisation,
        )  # fmt: skip
        return measure(
            policy, held_out, held_out.spread(options.samples), options.row, options.denoising
        )

    def _write(self, errors: AnyErrors, step: int) -> None:
        options, network, images = self.options, self.student.network, self.preparation.images
        check_others(self._others, network, options.row)
        state = network.state_dict()
        files = Files(network=network, state=state, images=images, tokenizer=self.folder)
        if self.embodiment.joint_space:
            write_joint_policy(options.out, files, options.row, self.units, options.store)
        else:
            write_policy(options.out, files)
        if options.lerobot and not self.embodiment.joint_space:
            beside = options.out.with_name(f'{options.out.name}-lerobot')
            write_lerobot(beside, files, options.row)
        metrics = self._facts() | {'steps': step, 'held_out': errors.summary()}
        write_json(training_folder(options.out) / 'metrics.json', metrics)

    def _facts(self) -> dict[str, Any]:
        options = self.options
        return {
            'robot': self.embodiment.robot,
            'checkpoint': str(options.checkpoint),
            'row': options.row,
            'from_row': options.from_row,
            'other_rows_unchanged': True,  # check_others has raised otherwise
            'episodes': {
                'train': len(self.data.episodes),
                'held_out': len(self.held_out.episodes),
            },
            'samples': {'train': len(self.data), 'still': self.data.still},
            'seed': options.seed,
            'dtype': str(options.dtype).removeprefix('torch.'),
            'lora': options.lora,
        }

    def _finish(self, state: Path) -> dict[str, Any]:
        curves(
            state / 'summary.png',
            lines(state / LOG),
            f'{self.embodiment.robot}, row {self.options.row}',
        )
        metrics: dict[str, Any] = json.loads((state / 'metrics.json').read_text())
        return metrics


def flat(errors: AnyErrors) -> dict[str, float]:
    """Return the means of errors for a line of the log."""
    summary = errors.summary()
    return {name: summary[name] for name in ('score', *ERRORS) if name in summary}
