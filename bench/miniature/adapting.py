# SPDX-License-Identifier: Apache-2.0
"""Adapts in one way, with looks at held-out samples and at the closed loop now and then."""

import json
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bench.miniature.pretraining import everything, NewRobot
from bench.miniature.size import Place, Size
from bench.miniature.ways import network_of, plan_of, prompts
from xvla_ros.adapt.closed_loop import Conditions, evaluate
from xvla_ros.adapt.demo.demo_policy import DESCENT, mixture
from xvla_ros.adapt.demo.objectives import anchor_errors_mm
from xvla_ros.adapt.demo.small_network import demo_tokenizer, IMAGE_SIDE
from xvla_ros.adapt.judging import wilson
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.optimisation import weights
from xvla_ros.adapt.trainer.progress import Progress
from xvla_ros.adapt.trainer.saving import restore_state, save_state, STATE
from xvla_ros.adapt.trainer.trainer import Step, Trainer
from xvla_ros.model.policy import Policy
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.tokenizer import TextProcessor
from xvla_ros.sim.scenes import VALIDATE

LOOKS, RESULT = 'looks.json', 'result.json'


class Adapting:
    """One way to adapt, in a folder of its own."""

    def __init__(self, way: str, robot: NewRobot, size: Size, place: Place, nearest: int) -> None:
        """
        Make the trainer, and go on where a run stopped.

        :param nearest: row whose prompts and heads are copied.
        """
        self.way, self.robot, self.size, self.place = way, robot, size, place
        self.folder = place.out / way
        network = network_of(way, robot, size, place, nearest)
        self.student = Student(network=network, dtype=place.dtype)
        batches = mixture([everything(robot.samples)], size.seed, size.batch)
        count = len(robot.held_out)
        held_out = mixture([everything(robot.held_out)], size.seed, count, jitter=False)
        self.held_out = held_out.draw(0)
        self.trainer = Trainer(self.student, batches, plan_of(way, size), DESCENT, seed=size.seed)
        self.looks: list[dict[str, Any]] = []
        if (self.folder / STATE).exists():
            restore_state(self.folder, self.trainer)
            self.looks = json.loads((self.folder / LOOKS).read_text())

    def run(self) -> dict[str, Any]:
        """Train what is left, and return all looks."""
        with Progress(self.trainer, self.folder) as progress:
            if not self.looks:
                self._look(0)
            self.trainer.run(lambda step: self._after(step, progress))
        return {'way': self.way, 'looks': self.looks}

    def _after(self, step: Step, progress: Progress) -> None:
        progress.show(step)
        if step.number % self.size.check == 0 or step.number == self.trainer.plan.steps:
            self._look(step.number)

    def _look(self, step: int) -> None:
        """Measure the running mean of the weights; keep the state with what was found."""
        mean = self.trainer.mean.state if self.trainer.mean and step else None
        with weights(self.student.network, mean):
            found = {'step': step, **self._errors(), **self._trials(step)}
            table = prompts(self.student.network).detach()
            found['prompts'] = [round(float(x), 5) for x in table[self.robot.row]]
        # After a kill between the two, the state is of the look before, and this one comes again.
        self.looks = [*(look for look in self.looks if look['step'] < step), found]
        write(self.folder / LOOKS, self.looks)
        save_state(self.folder, self.trainer)
        tqdm.write(
            f'  {self.way}, {step} steps: {found["error_mm"]:.1f} mm, reached {found["reached"]} '
            f'of {found["trials"]}'
        )

    def _errors(self) -> dict[str, float]:
        errors = anchor_errors_mm(self.student, self.held_out, self.size.seed)
        mean, last = errors[self.robot.row]
        return {'error_mm': round(mean, 2), 'last_mm': round(last, 2)}

    def _trials(self, step: int) -> dict[str, Any]:
        """Run the closed loop in scenes that no training saw."""
        last = step == self.trainer.plan.steps
        count = self.size.last_trials if last else self.size.trials
        network = self.student.network
        policy = Policy(
            network, ImageProcessor((IMAGE_SIDE, IMAGE_SIDE)),
            TextProcessor(demo_tokenizer(), network.config.text_length),
        )  # fmt: skip
        conditions = Conditions(limit_s=self.place.limit_s)
        with torch.random.fork_rng(devices=[]):
            outcomes = evaluate(
                self.robot.embodiment, policy, VALIDATE, self.size.seed, range(count), conditions
            )
        reached = sum(outcome.reached for outcome in outcomes)
        return {
            'trials': count,
            'reached': reached,
            'wrong': sum(bool(outcome.wrong) for outcome in outcomes),
            'interval': [round(x, 3) for x in wilson(reached, count)],
        }


def write(file: Path, data: object) -> None:
    """Write a JSON file as a whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f'{file.name}.partial')
    partial.write_text(json.dumps(data) + '\n')
    partial.replace(file)
