"""
Make .venv-reference: lerobot 0.4.4 and what its X-VLA network needs, for comparisons.

`--trainer` adds what its trainer and dataset reader need. `--native` makes
.venv-reference-native: lerobot 0.6.1, whose network is on transformers' own Florence-2.
`--sources` installs lerobot's own files alone: seconds instead of minutes, enough to read its
queue. A stamp per part makes the next run a matter of milliseconds. Run by `make parity` and
`make bench` through scripts/bootstrap-reference. Standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import fcntl
import hashlib
from pathlib import Path
import sys
from typing import NamedTuple

import bootstrap

LOG = bootstrap.ROOT / 'log' / 'bootstrap_reference.txt'
# pip's words when an index cannot be reached, or does not have a package at all.
UNREACHABLE = ('(from versions: none)', 'connection broken by', 'NewConnectionError')


class Reference(NamedTuple):
    """One published implementation: its wheel, its environment, what its network needs."""

    lerobot: str
    venv: Path
    pins: Path
    options: tuple[str, ...] = ()
    more: Path | None = None


OLD = Reference(
    'lerobot==0.4.4',
    bootstrap.ROOT / '.venv-reference',
    bootstrap.ROOT / 'requirements' / 'reference.txt',
    more=bootstrap.ROOT / 'requirements' / 'reference-trainer.txt',
)
# The wheel asks for Python 3.12; its network's files run on older ones.
NATIVE = Reference(
    'lerobot==0.6.1',
    bootstrap.ROOT / '.venv-reference-native',
    bootstrap.ROOT / 'requirements' / 'reference-native.txt',
    ('--ignore-requires-python',),
)


def main() -> int:
    """Bring the parts that are asked for, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sources', action='store_true', help="lerobot's own files alone")
    parser.add_argument('--native', action='store_true', help='lerobot 0.6.1')
    parser.add_argument('--trainer', action='store_true', help='what the trainer of 0.4.4 needs')
    options = parser.parse_args()
    reference = NATIVE if options.native else OLD
    parts = {'lerobot': install_lerobot}
    if not options.sources:
        parts['pins'] = install_pins
    if options.trainer and not options.native:
        parts['trainer'] = install_trainer
    LOG.parent.mkdir(exist_ok=True)
    with LOG.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            for name, install in parts.items():
                bring(reference, name, install)
        except bootstrap.Refused as refusal:
            print(f'[bootstrap-reference] {refusal}', file=sys.stderr)
            return 1
    return 0


def bring(reference: Reference, name: str, install: Callable[[Reference], None]) -> None:
    """Install a part unless its stamp tells that it is there."""
    stamp = reference.venv / f'.xvla_{name}'
    told = f'{sys.version}{reference.lerobot}{reference.pins.read_text()}'
    if name == 'trainer' and reference.more:
        told += reference.more.read_text()
    wanted = hashlib.sha256(told.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    LOG.write_text('')
    if not (reference.venv / 'bin' / 'python').exists():
        bootstrap.say(f'making {reference.venv.name}')
        bootstrap.run([sys.executable, '-m', 'venv', '--clear', str(reference.venv)], log=LOG)
    install(reference)
    stamp.write_text(wanted)


def install_lerobot(reference: Reference) -> None:
    """Install lerobot without its dependencies: only some of its files are used."""
    bootstrap.say(f'installing the files of {reference.lerobot} into {reference.venv.name}')
    pip(reference, '--no-deps', *reference.options, reference.lerobot)


def install_pins(reference: Reference) -> None:
    """Install what lerobot's network files import."""
    bootstrap.say(f'installing torch and transformers into {reference.venv.name} (minutes)')
    pip(reference, '-r', str(reference.pins))


def install_trainer(reference: Reference) -> None:
    """Install what lerobot's trainer and its dataset reader import."""
    bootstrap.say(f'installing what the trainer needs into {reference.venv.name}')
    pip(reference, '-c', str(reference.pins), '-r', str(reference.more))


def pip(reference: Reference, *arguments: str) -> None:
    """
    Run pip in the environment, with lines of progress.

    :raises bootstrap.Refused: it failed; the message says so plainly when no index answered.
    """
    python = str(reference.venv / 'bin' / 'python')
    command = [python, '-m', 'pip', 'install', '--retries', '2']
    try:
        bootstrap.run([*command, '--progress-bar', 'off', *arguments], 'pip', log=LOG)
    except bootstrap.Refused:
        if any(words in LOG.read_text() for words in UNREACHABLE):
            raise bootstrap.Refused(
                'no package index answered, so the comparison with lerobot cannot be made: check '
                f'the network and `pip config list`; what pip said is in {LOG}'
            ) from None
        raise


if __name__ == '__main__':
    sys.exit(main())
