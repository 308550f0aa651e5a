# SPDX-License-Identifier: Apache-2.0
"""The host names of a SLURM job, and the file with the server's address for clients."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, product
import json
import os
from pathlib import Path
import re
import socket

from xvla_ros.core.errors import ConfigError

# A name; commas outside brackets separate names: `node[1-3,7],login`.
NAMES = re.compile(r'(?:[^,\[\]]|\[[^\[\]]*\])+')
PARTS = re.compile(r'\[([^\[\]]*)\]|([^\[\]]+)')
# More names than any cluster has, so that a mistyped range cannot fill the memory.
MOST_NODES = 100_000


def expand_hostlist(text: str) -> list[str]:
    """
    Expand SLURM's host list as `scontrol show hostnames` does.

    `rack[1-2]n[08-10],login` -> rack1n08, rack1n09, ... rack2n10, login.
    """
    if NAMES.sub('', text).strip(', '):
        raise ConfigError(f'host list {text!r}: brackets do not match')
    return list(chain.from_iterable(expand_name(name.strip()) for name in NAMES.findall(text)))


def expand_name(name: str) -> list[str]:
    """Expand the brackets of one name, the last running fastest."""
    choices = [
        [plain] if plain else expand_ranges(inside, name) for inside, plain in PARTS.findall(name)
    ]
    return [''.join(parts) for parts in product(*choices)]


def expand_ranges(text: str, name: str) -> list[str]:
    """Expand `01-03,7` to 01, 02, 03, 7: the first number's leading zeros are kept."""
    values: list[str] = []
    for part in text.split(','):
        match = re.fullmatch(r'(\d+)(?:-(\d+))?', part.strip())
        first, last = (match[1], match[2] or match[1]) if match else ('1', '0')
        if not 0 <= int(last) - int(first) < MOST_NODES:
            raise ConfigError(f'host list {name!r}: {part!r} is no range')
        values += [f'{n:0{len(first)}d}' for n in range(int(first), int(last) + 1)]
    return values


def job_info(port: int, environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """
    Describe this job's server with the keys of the authors' deploy.py.

    :return: `host`, `port`, `job_id` and `node_list`.
    :raises ConfigError: this is no SLURM job.
    """
    job = environment.get('SLURM_JOB_ID')
    nodes = environment.get('SLURM_JOB_NODELIST') or environment.get('SLURM_NODELIST', '')
    if not job and not nodes:
        raise ConfigError(
            '--slurm: SLURM_JOB_ID and SLURM_JOB_NODELIST are not set, so this is no SLURM job'
        )
    names = expand_hostlist(nodes)
    host = environment.get('SLURMD_NODENAME') or (
        names[0] if len(names) == 1 else socket.gethostname()
    )
    return {'host': host, 'port': port, 'job_id': job or 'none', 'node_list': names or [host]}


def check_absent(path: Path) -> None:
    """Refuse to replace another server's file."""
    if path.exists():
        raise ConfigError(
            f'{path}: exists, so another server may be using it; '
            f'remove it or choose another --output-dir'
        )


@contextmanager
def info_file(path: Path, info: Mapping[str, object]) -> Iterator[None]:
    """Provide the file with a server's address while the block runs."""
    write_info(path, info)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def write_info(path: Path, info: Mapping[str, object]) -> None:
    """Write the file atomically, because clients read it as soon as it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    draft.write_text(json.dumps(info, indent=2) + '\n')
    try:
        os.link(draft, path)  # fails where a rename would replace
    except FileExistsError:
        check_absent(path)
    finally:
        draft.unlink()
