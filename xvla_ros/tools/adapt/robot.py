# SPDX-License-Identifier: Apache-2.0
"""Adapt a checkpoint to a robot from demonstrations."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import count, duration
from xvla_ros.tools.sources import add_source_arguments, episodes_of, robot_of

if TYPE_CHECKING:  # these import torch, which --help does not need
    from argparse import _ArgumentGroup, ArgumentParser

    from xvla_ros.adapt.job import Adaptation
    from xvla_ros.adapt.options import Options
    from xvla_ros.adapt.processes import Processes

OUT = Path('out/adapted')


def add_arguments(group: 'ArgumentParser | _ArgumentGroup') -> None:
    """Declare the arguments of an adaptation."""
    add = group.add_argument
    add('--checkpoint', type=Path, help='checkpoint folder to start from, any layout')
    add_source_arguments(group)
    add('--row', type=int, help="row to train (default: the embodiment's policy.domain_id)")
    add(
        '--from-row',
        type=int,
        metavar='N',
        help='start as a copy of this row (default: if the row is untrained, the row that '
        'predicts the data best)',
    )
    add('--rows', action='store_true', help='only compare the trained rows on the data')
    add('--frozen-steps', type=int, default=1000, help='steps of prompts and heads alone')
    add('--steps', type=int, default=20000, help='steps of everything')
    add('--rate', type=duration, default=1e-4, help='learning rate of prompts and heads')
    add('--scale', type=duration, default=0.1, help="core's and VLM's share of the rate")
    add('--warmup', type=int, default=2000, help='steps of the ramp of the rates of core and VLM')
    add('--falling', type=duration, default=0.0, help='share of the steps with falling rates')
    add('--mean', type=duration, default=0.0, help='decay of a running mean of the weights')
    add('--batch', type=count, default=16, help='samples per step and process')
    add('--check', type=count, default=500, help='steps between checks on held-out episodes')
    add('--held-out', type=duration, default=0.1, help='share of the episodes to hold out')
    add('--early-core', action='store_true', help='train the core in the first step, too')
    add('--half', action='store_true', help='store a policy in joint space as float16')
    add('--lora', type=int, default=0, metavar='RANK', help='train low-rank updates (peft)')
    add('--checkpointing', action='store_true', help='use less memory, compute a third more')
    add('--no-jitter', action='store_true', help='do not change the colours of images')
    add('--silence-views', action='store_true', help='the checkpoint never saw a second camera')
    add('--lerobot', action='store_true', help="also write LeRobot's layout, into OUT-lerobot")
    add('--tensorboard', action='store_true', help='also write logs for TensorBoard')
    add('--device', default='cpu', help='cpu, or cuda')


def run(args: Namespace) -> int:
    """Compare rows, print the expected memory, train, and print the result."""
    from xvla_ros.adapt.job import Adaptation
    from xvla_ros.adapt.processes import processes_of

    if args.checkpoint is None:
        raise ConfigError('xvla adapt: --checkpoint is missing: the folder to begin with')
    embodiment = robot_of(args, 'xvla adapt')
    processes = processes_of(args.device)
    made = Adaptation(
        episodes_of(args, embodiment), embodiment, options(args, embodiment, processes), processes
    )
    say = print if processes.rank == 0 else silent
    say(describe_data(made))
    for line in choose_row(made):
        say(line)
    return 0 if args.rows else train(made, say, args.resume)


def silent(line: str) -> None:
    """Print nothing: only one of several processes prints."""


def row_of(args: Namespace, embodiment: Embodiment) -> int:
    """Return the row of the checkpoint: the requested one, or the embodiment's."""
    return embodiment.policy.domain_id if args.row is None else int(args.row)


def options(
    args: Namespace, embodiment: Embodiment, processes: 'Processes | None' = None
) -> 'Options':
    """Collect the arguments."""
    import torch

    from xvla_ros.adapt.options import Options
    from xvla_ros.adapt.trainer.arithmetic import training_dtype
    from xvla_ros.adapt.trainer.stages import two_steps

    plan = two_steps(
        frozen_steps=args.frozen_steps, steps=args.steps, rate=args.rate, scale=args.scale,
        warmup=args.warmup, falling=args.falling, lora=bool(args.lora),
        early_core=args.early_core,
    )  # fmt: skip
    device = processes.device(args.device) if processes else args.device
    return Options(
        checkpoint=args.checkpoint, out=args.out or OUT, plan=plan, row=row_of(args, embodiment),
        from_row=args.from_row, batch=args.batch, seed=args.seed, check=args.check,
        denoising=embodiment.policy.denoising_steps, held_out=args.held_out,
        dtype=training_dtype(args.dtype, args.device), device=device,
        jitter=not args.no_jitter, lora=args.lora, checkpointing=args.checkpointing,
        lerobot=args.lerobot, silence=args.silence_views, tensorboard=args.tensorboard,
        mean=args.mean, store=torch.float16 if args.half else None,
    )  # fmt: skip


def describe_data(made: 'Adaptation') -> str:
    """Return a line about the training data."""
    return (
        f'{len(made.data)} samples of {len(made.data.episodes)} episodes, '
        f'{len(made.held_out.episodes)} episodes held out, '
        f'{made.data.still} frames left out because nothing moves after them'
    )


def choose_row(made: 'Adaptation') -> Iterator[str]:
    """Start an untrained row as a copy of the best one; yield the comparison."""
    from xvla_ros.adapt.rows import retrieve, trained_rows

    row, named = made.options.row, made.options.from_row
    if made.new_space:
        mode = made.embodiment.policy.action_mode
        yield (
            f"the checkpoint has other actions than '{mode}': the projections of states and "
            f'actions are new, the prompts of row {row} begin as those of row '
            f'{row if named is None else named}'
        )
        return
    rows = trained_rows(made.student.network)
    found = retrieve(made.student, made.data, rows, made.options.seed)
    yield 'trained rows on this data, before any training (one prediction from noise):'
    for candidate in found:
        assert candidate.errors is not None
        yield f'  row {candidate.row:2}: {candidate.errors.line()}'
    if named is None and row not in rows:
        made.options = replace(made.options, from_row=found[0].row)
    start = made.options.from_row
    yield f'row {row} starts ' + ('unchanged' if start is None else f'as a copy of row {start}')


def train(made: 'Adaptation', say: Callable[[str], None], resume: bool) -> int:
    """Train, and report the result."""
    from tqdm import tqdm

    from xvla_ros.adapt.trainer.progress import training_folder

    made.prepare()
    for name, memory in made.memory().items():
        say(f"expected memory in stage '{name}': {memory}")
    out = made.options.out
    metrics = made.run(tqdm.write, resume)
    if metrics:
        say(f'checkpoint of step {metrics["steps"]}: {out}, domain_id {made.options.row}')
        say(f'state, log and curves: {training_folder(out)}')
    return 0
