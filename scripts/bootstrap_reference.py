"""
Make .venv-reference: lerobot 0.4.4 and what its X-VLA network needs, for comparisons.

`--sources` installs lerobot's own files alone: seconds instead of minutes, enough to read its
queue. A stamp per part makes the next run a matter of milliseconds. Run by `make parity` and
`make bench` through scripts/bootstrap-reference. Standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import fcntl
import hashlib
import sys

import bootstrap

LEROBOT = 'lerobot==0.4.4'
VENV = bootstrap.ROOT / '.venv-reference'
PINS = bootstrap.ROOT / 'requirements' / 'reference.txt'
LOG = bootstrap.ROOT / 'log' / 'bootstrap_reference.txt'
# pip's words when an index cannot be reached, or does not have a package at all.
UNREACHABLE = ('(from versions: none)', 'connection broken by', 'NewConnectionError')


def main() -> int:
    """Bring the parts that are asked for, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sources', action='store_true', help="lerobot's own files alone")
    parts = {'lerobot': install_lerobot}
    if not parser.parse_args().sources:
        parts['pins'] = install_pins
    LOG.parent.mkdir(exist_ok=True)
    with LOG.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            for name, install in parts.items():
                bring(name, install)
        except bootstrap.Refused as refusal:
            print(f'[bootstrap-reference] {refusal}', file=sys.stderr)
            return 1
    return 0


def bring(name: str, install: Callable[[], None]) -> None:
    """Install a part unless its stamp tells that it is there."""
    stamp = VENV / f'.xvla_{name}'
    wanted = hashlib.sha256(f'{sys.version}{LEROBOT}{PINS.read_text()}'.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    LOG.write_text('')
    if not (VENV / 'bin' / 'python').exists():
        bootstrap.say('making .venv-reference')
        bootstrap.run([sys.executable, '-m', 'venv', '--clear', str(VENV)], log=LOG)
    install()
    stamp.write_text(wanted)


def install_lerobot() -> None:
    """Install lerobot without its dependencies: only some of its files are used."""
    bootstrap.say(f'installing the files of {LEROBOT} into .venv-reference')
    pip('--no-deps', LEROBOT)


def install_pins() -> None:
    """Install what lerobot's network files import."""
    bootstrap.say('installing torch and transformers into .venv-reference (minutes)')
    pip('-r', str(PINS))


def pip(*arguments: str) -> None:
    """
    Run pip in the environment, with lines of progress.

    :raises bootstrap.Refused: it failed; the message says so plainly when no index answered.
    """
    command = [str(VENV / 'bin' / 'python'), '-m', 'pip', 'install', '--retries', '2']
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
