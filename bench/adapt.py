# SPDX-License-Identifier: Apache-2.0
"""
make bench --only adapt: our training against lerobot's (0.4.4), same network, weights and batch.

`adapt.step` is a step of all weights, `adapt.frozen_step` one of prompts and heads with the
encoder's output kept. The anchor of both is a step of lerobot's trainer, which trains all weights;
`ratio_like_for_like` is against lerobot's with all but prompts and heads frozen. `adapt.data` is
how fast a LeRobot dataset with AV1 videos becomes batches: `ours` reads every image once from the
videos and draws each sample once, `later` is every further pass; lerobot's reader decodes again in
each. Both sides use one thread, as `xvla adapt` does, and take turns; medians count. Where lerobot
cannot be installed, ours is measured alone.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import torch

from bench.adapt_data import Feeding, make_dataset
from bench.adapt_steps import OurTraining, Spent, STAGES, their_batch, write_checkpoints
from bench.reference_environment import make_reference, MissingReferenceError
from xvla_ros.adapt.trainer.arithmetic import training_dtype

FOLDER = Path('out/bench/adapt')
SCRIPT = Path(__file__).with_name('reference_trainer.py')
# libavcodec-7ee0753d.so.61.19.101
DIGEST = re.compile(r'(lib\w+)-[0-9a-f]{8}\.so\.(\d+)\..*')
THREADS, BATCH = 1, 16
ROUNDS, DATA_ROUNDS = 15, 3


class Theirs(AbstractContextManager['Theirs']):
    """lerobot in a process of its own environment that answers on a pipe with seconds."""

    def __init__(self, python: Path, log: Path, *arguments: object) -> None:
        """
        Start it, and wait until it is ready.

        :raises MissingReferenceError: it stopped; the log says why.
        """
        self.log = log
        command = [python, SCRIPT, '--threads', THREADS, *arguments]
        with log.open('w') as stream:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env=library_path(python),
            )
        try:
            self.ready = self._answer()
        except MissingReferenceError:
            self.__exit__()
            raise

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise MissingReferenceError(f'lerobot stopped, see {self.log}')
        return line

    def ask(self, question: object) -> Spent:
        """Return what it answers to a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f'{question}\n')
        self.process.stdin.flush()
        wall, cpu = map(float, self._answer().split())
        return wall, cpu

    def __exit__(self, *error: object) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def run(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return the figures whose names begin with `adapt.`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        python = make_reference('--trainer')
    except MissingReferenceError as error:
        left_out(error)
        python = None
    try:
        return steps(folder, python) | data(folder, python)
    finally:
        torch.set_num_threads(threads)


def steps(
    folder: Path, python: Path | None, rounds: int = ROUNDS, batch: int = BATCH
) -> dict[str, dict[str, Any]]:
    """
    Measure steps of training, ours and lerobot's in turns.

    :param python: of lerobot's environment; None measures ours alone.
    """
    dtype = training_dtype()
    mine, lerobots = write_checkpoints(folder)
    ours = {name: OurTraining(mine, name, dtype, batch) for name in STAGES}
    np.savez(folder / 'batch.npz', **their_batch(ours['all'].batch))
    askers: dict[str, Callable[[], Spent]] = {name: one.step for name, one in ours.items()}
    mixed = 'bf16' if dtype == torch.bfloat16 else 'no'
    options = '--checkpoint', lerobots, '--batch', folder / 'batch.npz', '--mixed', mixed
    with reference(python, folder / 'steps.log', 'steps', *options) as theirs:
        if theirs:
            askers |= {f'lerobot {name}': asker(theirs, name) for name in STAGES}
            check_same(theirs, ours)
        times = in_turns(askers, rounds)
    for training in ours.values():
        training.close()
    facts = {'dtype': str(dtype).removeprefix('torch.'), 'batch': batch, 'threads': THREADS}
    found = {key: figure(times, name, 'lerobot all') | facts for name, key in STAGES.items()}
    if theirs:
        alike = figure(times, 'frozen', 'lerobot frozen')
        found['adapt.frozen_step']['ratio_like_for_like'] = alike['ratio']
    return found


def figure(times: dict[str, list[Spent]], name: str, anchor: str) -> dict[str, Any]:
    """Return the milliseconds of a name, and how many times as long an anchor took."""
    spent = {key: np.median(each, axis=0) for key, each in times.items()}
    found = {
        'ours': round(1e3 * float(spent[name][0]), 1),
        'unit': 'ms',
        'n': len(times[name]),
        'cpu': round(1e3 * float(spent[name][1]), 1),
    }
    if anchor in spent:
        ratio, cpu_ratio = (spent[anchor] / spent[name]).tolist()
        found |= {'anchor': round(1e3 * float(spent[anchor][0]), 1), 'ratio': round(ratio, 3)}
        found |= {'ratio_cpu': round(cpu_ratio, 3)}
    return found


def asker(theirs: Theirs, question: object) -> Callable[[], Spent]:
    """Return what asks a question."""
    return lambda: theirs.ask(question)


def check_same(theirs: Theirs, ours: dict[str, OurTraining]) -> None:
    """Check that both sides train as many numbers."""
    counts = [int(word) for word in theirs.ready.split()[1:]]
    mine = [training.trained for training in ours.values()]
    assert counts == mine, f'lerobot trains {counts} numbers, we {mine}'


@contextmanager
def reference(python: Path | None, log: Path, *arguments: object) -> Iterator[Theirs | None]:
    """Run lerobot in the block, if there is one that starts."""
    try:
        theirs = Theirs(python, log, *arguments) if python else None
    except MissingReferenceError as error:
        left_out(error)
        theirs = None
    with theirs or nullcontext():
        yield theirs


def left_out(error: MissingReferenceError) -> None:
    """Say why there is no comparison."""
    print(f'  lerobot is left out: {error}', file=sys.stderr)


def in_turns(askers: dict[str, Callable[[], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """Ask everyone in turns; the first two rounds warm up."""
    times: dict[str, list[Spent]] = {name: [] for name in askers}
    for turn in range(-2, rounds):
        for name, ask in askers.items():
            spent = ask()
            times[name] += [spent] if turn >= 0 else []
        print(f'adapt: round {turn + 1} of {rounds}', file=sys.stderr, flush=True)
    return times


def data(
    folder: Path, python: Path | None, rounds: int = DATA_ROUNDS, episodes: int = 12
) -> dict[str, dict[str, Any]]:
    """Measure how fast samples come from a dataset: ours with its first reading, and after it."""
    dataset = make_dataset(folder / 'dataset', episodes)
    mine, _ = write_checkpoints(folder)
    ours = Feeding(dataset, mine, BATCH)
    options = [
        '--dataset', dataset, '--anchors', ours.anchors, '--period', ours.period_s,
        '--batch-size', BATCH,
    ]  # fmt: skip
    with reference(python, folder / 'data.log', 'read', *options) as theirs:
        askers: dict[str, Callable[[], Spent]] = {'first': ours.first, 'later': ours.later}
        if theirs:
            askers['lerobot'] = asker(theirs, ours.batches)
        times = in_turns(askers, rounds)
    spent = {name: np.median(each, axis=0) for name, each in times.items()}
    rates = {name: round(float(ours.samples / each[0]), 1) for name, each in spent.items()}
    found: dict[str, Any] = {'ours': rates['first'], 'later': rates['later']}
    if theirs:
        found |= {
            'anchor': rates['lerobot'],
            'ratio': round(rates['first'] / rates['lerobot'], 3),
            'ratio_cpu': round(float(spent['lerobot'][1] / spent['first'][1]), 3),
            'ratio_later': round(rates['later'] / rates['lerobot'], 3),
        }
    facts = {'unit': 'samples/s', 'n': rounds, 'views': ours.views, 'size': ours.size}
    return {'adapt.data': found | facts}


def library_path(python: Path) -> dict[str, str]:
    """Return the environment in which torchcodec finds FFmpeg: the one inside PyAV's wheel."""
    return os.environ | {'LD_LIBRARY_PATH': ':'.join(map(str, ffmpeg_folders(python)))}


def ffmpeg_folders(python: Path) -> list[Path]:
    """
    Return the folders of FFmpeg's libraries, by the names under which they are asked for.

    PyAV's wheel has them with a digest in each name.
    """
    bundled = next(python.parents[1].glob('lib/python*/site-packages/av.libs'), None)
    if bundled is None:  # a wheel of another platform: the system's libraries have to do
        return []
    named = python.parents[1] / 'ffmpeg'
    named.mkdir(exist_ok=True)
    for library in bundled.iterdir():
        if found := DIGEST.fullmatch(library.name):
            link = named / f'{found[1]}.so.{found[2]}'
            if not link.exists():
                link.symlink_to(library)
    return [named, bundled]
