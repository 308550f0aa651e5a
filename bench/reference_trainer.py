# SPDX-License-Identifier: Apache-2.0
"""
lerobot 0.4.4's trainer and dataset reader, behind a pipe; bench/adapt.py asks.

Runs in `.venv-reference` with the pins of requirements/reference-trainer.txt, so it imports
nothing of this project. lerobot's policy, optimiser, `update_policy` and dataset are its own; what
they import beside (environments, robots, other policies, torchvision) becomes empty modules.
Commands:

Answers are seconds, and seconds of processor time.

steps  load a checkpoint, then answer each line on stdin, `all` or `frozen`, with the seconds of
       a training step of those weights
read   answer each line on stdin with the seconds that so many samples take, one after the other
"""

import argparse
from collections.abc import Iterator
import importlib.abc
import importlib.util
from pathlib import Path
import sys
import time
from types import ModuleType

import numpy as np
import torch

# What is never run. lerobot draws on torchvision for pixels outside videos only.
ABSENT = (
    'imageio',
    'lerobot.datasets.factory',
    'lerobot.envs',
    'lerobot.policies.factory',
    'lerobot.processor',
    'lerobot.rl',
    'lerobot.scripts.lerobot_eval',
    'lerobot.utils.hub',
    'torchvision',
    'wandb',
)
# Packages whose own `__init__` would import everything.
OPENED = ('policies', 'policies/xvla', 'optim')
# What is trained, by parts of the names: everything, or prompts and heads alone. lerobot has no
# setting for the second: its `train_policy_transformer: false` freezes the prompts, too.
TRAINED = {'all': ('',), 'frozen': ('soft_prompt_hub', 'action_encoder', 'action_decoder')}
CLIP = 10.0  # optimizer_grad_clip_norm


class Empty(ModuleType):
    """A module that has a class of every name."""

    def __getattr__(self, name: str) -> object:
        """Return an empty class."""
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {'__class_getitem__': classmethod(lambda cls, item: cls)})


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds empty modules in place of those of ABSENT."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """Return the empty module of a name, if it is one of these."""
        if any(name == root or name.startswith(f'{root}.') for root in ABSENT):
            return importlib.util.spec_from_loader(name, self, is_package=True)
        return None

    def create_module(self, spec: object) -> ModuleType:
        """Return the empty module."""
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""


def prepare() -> None:
    """Let lerobot be imported without what it does not need here."""
    sys.meta_path.insert(0, Absent())
    root = Path(importlib.util.find_spec('lerobot').submodule_search_locations[0])
    for part in OPENED:
        name = 'lerobot.' + part.replace('/', '.')
        module = ModuleType(name)
        module.__path__ = [str(root / part)]
        sys.modules[name] = module
    from lerobot.optim import optimizers, schedulers

    sys.modules['lerobot.optim'].OptimizerConfig = optimizers.OptimizerConfig
    sys.modules['lerobot.optim'].LRSchedulerConfig = schedulers.LRSchedulerConfig


class Training:
    """One policy in training, as `lerobot-train` has it."""

    def __init__(self, folder: Path, mixed: str, trained: tuple[str, ...]) -> None:
        """
        Load the policy and make its optimiser.

        :param mixed: precision of accelerate: `no` or `bf16`. trained: see TRAINED.
        """
        from accelerate import Accelerator
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.xvla.modeling_xvla import XVLAPolicy
        from lerobot.utils.logging_utils import AverageMeter, MetricsTracker

        config = PreTrainedConfig.from_pretrained(folder)
        config.device = 'cpu'
        policy = XVLAPolicy.from_pretrained(folder, config=config)
        for name, parameter in policy.named_parameters():
            parameter.requires_grad_(any(part in name for part in trained))
        self.accelerator = Accelerator(
            step_scheduler_with_optimizer=False, mixed_precision=mixed, cpu=True
        )
        # Its optimiser and schedule by lerobot's own presets.
        optimiser = config.get_optimizer_preset().build(policy.get_optim_params())
        schedule = config.get_scheduler_preset().build(optimiser, 10_000)
        self.policy, self.optimiser, self.schedule = self.accelerator.prepare(
            policy, optimiser, schedule
        )
        names = 'loss', 'grad_norm', 'lr', 'update_s'
        meters = {name: AverageMeter(name) for name in names}
        self.metrics = MetricsTracker(1, 1, 1, meters, accelerator=self.accelerator)

    def step(self, batch: dict) -> tuple[float, float]:
        """Return the seconds of one step, and its seconds of processor time."""
        from lerobot.scripts.lerobot_train import update_policy

        start, cpu = time.perf_counter(), time.process_time()
        update_policy(
            self.metrics, self.policy, batch, self.optimiser, CLIP,
            accelerator=self.accelerator, lr_scheduler=self.schedule,
        )  # fmt: skip
        return time.perf_counter() - start, time.process_time() - cpu

    @property
    def trained(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self.policy.parameters() if p.requires_grad)


def steps(args: argparse.Namespace) -> None:
    """Answer the name of a policy, `all` or `frozen`, with the seconds of a step."""
    torch.set_num_threads(args.threads)
    prepare()
    batch = {n: torch.from_numpy(values) for n, values in np.load(args.batch).items()}
    policies = {
        name: Training(args.checkpoint, args.mixed, trained) for name, trained in TRAINED.items()
    }
    print('trained', *(policy.trained for policy in policies.values()), flush=True)
    for line in sys.stdin:
        print(*policies[line.strip()].step(batch), flush=True)


def read(args: argparse.Namespace) -> None:
    """Answer a number of samples with the seconds that they take, in random order."""
    torch.set_num_threads(args.threads)
    prepare()
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    times = {'action': [anchor * args.period for anchor in range(args.anchors)]}
    data = LeRobotDataset('local/bench', root=args.dataset, delta_timestamps=times)
    order = samples(len(data))
    print(len(data), flush=True)
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            batch = [data[next(order)] for _ in range(args.batch_size)]
            torch.utils.data.default_collate(batch)
        print(time.perf_counter() - start, time.process_time() - cpu, flush=True)


def samples(count: int) -> Iterator[int]:
    """Yield samples in random order, each once before any comes again."""
    random = np.random.default_rng(0)
    while True:
        yield from map(int, random.permutation(count))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--threads', type=int, required=True)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser('steps')
    command.add_argument('--checkpoint', type=Path, required=True)
    command.add_argument('--batch', type=Path, required=True)
    command.add_argument('--mixed', choices=('no', 'bf16'), default='no')
    command.set_defaults(call=steps)
    command = commands.add_parser('read')
    command.add_argument('--dataset', type=Path, required=True)
    command.add_argument('--anchors', type=int, required=True)
    command.add_argument('--period', type=float, required=True)
    command.add_argument('--batch-size', type=int, required=True)
    command.set_defaults(call=read)
    args = parser.parse_args()
    args.call(args)


if __name__ == '__main__':
    main()
