# SPDX-License-Identifier: Apache-2.0
"""
Measures which of several ways to compute is the fastest on this processor, and stores the times.

The fastest number format or kernel differs between processors, and the features of a processor do
not show how torch uses them. So each way is timed with one thread, and the times are stored in a
file in the user's cache folder. The file is valid for one processor, one version of torch and one
set of the variables that choose kernels; if one of them changes, everything is measured again. If
the folder cannot be written, the times last as long as the process.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import fcntl
from functools import cache
import hashlib
import json
import logging
import math
import os
from pathlib import Path
import time
from typing import IO

import torch

# Increase this when a question changes what it measures under the same name.
REVISION = 1
# Duration of the rounds of a measurement, and their minimum number.
BUDGET_S = 1.0
LEAST_ROUNDS = 3
# A way is not called again when it takes this many times the shortest time.
GIVE_UP = 3.0
# A way replaces the usual one when it is this many times faster; less may be noise, and another
# kernel rounds differently.
MARGIN = 1.15
# Variables that choose the kernels of oneDNN, MKL and ATen.
VARIABLES = (
    'ATEN_CPU_CAPABILITY',
    'DNNL_MAX_CPU_ISA',
    'ONEDNN_MAX_CPU_ISA',
    'DNNL_DEFAULT_FPMATH_MODE',
    'ONEDNN_DEFAULT_FPMATH_MODE',
    'MKL_ENABLE_INSTRUCTIONS',
)
# The lines of /proc/cpuinfo that identify a type of processor (x86, then ARM).
PROCESSOR_LINES = ('model name', 'flags', 'Features', 'CPU part')
# How long one process waits for another one with the same measurement.
LOCK_TIMEOUT_S = 60.0
LOCK_PERIOD_S = 0.02

_kept: dict[Path, Mapping[str, float]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """
    A measurement to make.

    name: name of the file, of letters, digits and dashes. ways: those that every processor has; a
    file without them counts as broken. prepare: makes the ways, each a function of the amount of
    data. sizes: amounts of data, first a small one so that a slow way costs little, then a typical
    one.
    """

    name: str
    ways: tuple[str, ...]
    prepare: Callable[[], Mapping[str, Callable[[int], object]]]
    sizes: tuple[int, ...] = (1, 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """
    The result of a measurement.

    seconds: by way, the shortest time per unit of data at the largest size. file: where it is
    stored; None if no file can be written.
    """

    seconds: Mapping[str, float]
    file: Path | None


def measured(question: Question) -> Measurement:
    """Return the stored result of a question, or measure it."""
    file = cache_folder() / f'{question.name}-{processor_key()}.json'
    seconds = _read(file, question.ways) or _kept.get(file)
    if seconds is None:
        with _alone(file):
            seconds = _read(file, question.ways) or _measure_and_write(question, file)
    _kept[file] = seconds
    return Measurement(seconds=seconds, file=file if file.exists() else None)


def fastest(seconds: Mapping[str, float], ways: Sequence[str], margin: float = MARGIN) -> str:
    """
    Return the fastest of some ways, or the first one unless another is clearly faster.

    :param ways: the allowed ways; one that is not in `seconds` is left out.
    """
    there = [way for way in ways if way in seconds]
    best = min(there, key=lambda way: seconds[way])
    return best if seconds[there[0]] > margin * seconds[best] else there[0]


def listed(answer: Measurement) -> str:
    """Return the times as a text, shortest first: `bfloat16 13.1 ms, float32 20.2 ms`."""
    ways = sorted(answer.seconds.items(), key=lambda item: item[1])
    return ', '.join(f'{way} {float(f"{1e3 * seconds:.3g}"):g} ms' for way, seconds in ways)


def cache_folder() -> Path:
    """Return the folder of the files: in XDG_CACHE_HOME if it is absolute, else ~/.cache."""
    base = Path(os.environ.get('XDG_CACHE_HOME', ''))
    return (base if base.is_absolute() else _home() / '.cache') / 'xvla_ros'


def _home() -> Path:
    """Return the home folder; for a user without one, a path below which nothing can exist."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)


def processor_key() -> str:
    """Return a hash of everything that a measurement depends on, of sixteen digits."""
    variables = tuple(f'{name}={os.environ.get(name, "")}' for name in VARIABLES)
    parts = (str(REVISION), torch.__version__, *_processor_lines(), *variables)
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]


@cache
def _processor_lines() -> tuple[str, ...]:
    """Return the lines of /proc/cpuinfo that describe the first processor."""
    with suppress(OSError):
        first = Path('/proc/cpuinfo').read_text(encoding='utf-8').split('\n\n')[0]
        return tuple(line for line in first.splitlines() if line.startswith(PROCESSOR_LINES))
    return ()


def _read(file: Path, ways: Sequence[str]) -> Mapping[str, float] | None:
    """Return the times in a file; None if it is missing or broken."""
    try:
        seconds = json.loads(file.read_text(encoding='utf-8'))['seconds']
        found = {str(way): float(value) for way, value in seconds.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    sound = all(math.isfinite(value) and value > 0 for value in found.values())
    return found if sound and set(ways) <= set(found) else None


def _measure_and_write(question: Question, file: Path) -> Mapping[str, float]:
    """Measure, and write the file atomically if it can be written."""
    seconds = _measure(question)
    partial = file.with_name(f'{file.name}.{os.getpid()}')
    try:
        partial.write_text(json.dumps({'seconds': seconds}, indent=1), encoding='utf-8')
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        logging.getLogger(__name__).info('%s: not remembered: %s', question.name, error)
    return seconds


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Lock out other processes with the same measurement; continue if no lock is possible."""
    lock = _opened(file.with_suffix('.lock'))
    if lock is None:
        yield
        return
    with lock:
        _wait_for(lock)
        yield


def _opened(file: Path) -> IO[str] | None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open('a', encoding='utf-8')
    except OSError:
        return None


def _wait_for(lock: IO[str]) -> None:
    """Take a lock; give up after LOCK_TIMEOUT_S, or on a file system without locks."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PERIOD_S)
        except OSError:
            return
        else:
            return


def _measure(question: Question) -> dict[str, float]:
    """Time every way with one thread, without changing torch's random state."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _shortest(question.prepare(), question.sizes)
    finally:
        torch.set_num_threads(threads)


def _shortest(
    ways: Mapping[str, Callable[[int], object]], sizes: Sequence[int]
) -> dict[str, float]:
    """Return the shortest time per unit of every way; slow ways skip the larger sizes."""
    seconds: dict[str, float] = {}
    for size in sizes:
        if len(_worth_it(ways, seconds)) < 2:
            break  # only one way is left
        for way in _worth_it(ways, seconds):
            ways[way](size)  # kernels are made, and memory is taken, at the first call
            seconds[way] = _clocked(ways[way], size)
        began, rounds = time.perf_counter(), 1
        while rounds < LEAST_ROUNDS or time.perf_counter() - began < BUDGET_S / len(sizes):
            for way in _worth_it(ways, seconds):
                seconds[way] = min(seconds[way], _clocked(ways[way], size))
            rounds += 1
    return seconds


def _worth_it(ways: Mapping[str, object], seconds: Mapping[str, float]) -> list[str]:
    """Return the ways that are not known to be GIVE_UP times slower than the fastest."""
    limit = GIVE_UP * min(seconds.values(), default=math.inf)
    return [way for way in ways if seconds.get(way, 0.0) <= limit]


def _clocked(way: Callable[[int], object], size: int) -> float:
    """Return the seconds per unit of one call."""
    began = time.perf_counter()
    way(size)
    return (time.perf_counter() - began) / size
