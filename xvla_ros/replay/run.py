# SPDX-License-Identifier: Apache-2.0
"""Runs a deterministic replay: reads a bag with options, writes files and a summary."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.bags.bag import Bag, open_bag
from xvla_ros.bags.chunks import arm_rows, ChunkSaid, plan_ends_ns, recorded_chunks
from xvla_ros.bags.timeline import clock_offset_ns
from xvla_ros.bags.topics import (
    as_recorded,
    match_streams,
    observation_streams,
)
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.replay.comparison import largest_difference, open_loop_error, Path3d
from xvla_ros.replay.options import about, chosen_embodiment, chosen_tasks, Options
from xvla_ros.replay.policy import MakeLoop, ReplayedPolicy
from xvla_ros.replay.results import CHUNKS, read_table, ResultFiles, SUMMARY
from xvla_ros.replay.worker import (
    RecordedChunk,
    RecordedLoop,
    RecordedSchedule,
)
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.inference_loop import InferenceLoop
from xvla_ros.runtime.inputs import Inputs
from xvla_ros.runtime.intake import Judged
from xvla_ros.runtime.policy import Ticked
from xvla_ros.runtime.predictor import check_fit
from xvla_ros.runtime.simulated import FixedLatency, Loop, Schedule
from xvla_ros.runtime.state import Command, Counters, Snapshot


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Replayed:
    """The results of a replay; `summary` is the content of summary.json."""

    bag: Bag
    embodiment: Embodiment
    missing: tuple[str, ...]
    summary: dict[str, Any]


class _Outcome:
    """Writes the policy's decisions, and stores the measured path of the arms."""

    def __init__(self, files: ResultFiles) -> None:
        self._files = files
        self.stamps_ns: list[int] = []
        self.poses: list[NDArray[np.float64]] = []

    def send(self, command: Command, now_ns: int) -> None:
        self._files.target(now_ns, command.sequence, command.targets)

    def show(self, judged: Judged) -> None:
        self._files.chunk(judged.chunk, judged.verdict)

    def ticked(self, now_ns: int, ticked: Ticked, snapshot: Snapshot) -> None:
        self._files.state(now_ns, snapshot.state.name, snapshot.reason)
        if ticked.measured is not None:
            self.stamps_ns.append(now_ns)
            self.poses.append(arm_rows(ticked.measured)[:, :7])

    def paths(self, arms: int) -> list[Path3d]:
        stamps = np.array(self.stamps_ns, np.int64)
        poses = np.array(self.poses).reshape(len(stamps), arms, 7)
        return [Path3d(stamps_ns=stamps, poses=poses[:, index]) for index in range(arms)]


def replay_deterministic(path: Path, out: Path, options: Options) -> Replayed:
    """
    Replay a bag into `out`.

    :raises ConfigError: the embodiment or the checkpoint is not known.
    :raises ObservationError: the bag cannot be read, or has no complete observation.
    """
    bag = open_bag(path).renamed(options.remap).between(options.start_s, options.duration_s)
    embodiment = as_recorded(chosen_embodiment(bag, options), bag.topics)
    streams = observation_streams(embodiment)
    kinds = {name: topic.kind for name, topic in bag.topics.items()}
    names, missing = match_streams(streams, kinds, str(path))
    if missing:
        raise ObservationError(
            f'{path}: no complete observation: {"; ".join(missing)}; '
            f'the bag has {", ".join(sorted(kinds))}'
        )
    offset_ns = clock_offset_ns(bag, names.values())
    said = recorded_chunks(bag, embodiment)
    make_loop, schedule = _inference(embodiment, options, said, offset_ns, path)
    with ResultFiles(out, embodiment) as files:
        outcome = _Outcome(files)
        policy = ReplayedPolicy(
            bag, embodiment, offset_ns, outcome, make_loop, schedule, options.transforms
        )
        tasks = chosen_tasks(bag, embodiment, options)
        counters = policy.run(tasks, outcome.ticked)
        files.counts(_counts(counters))
    if not counters.chunks:
        raise ObservationError(f'{path}: {_why_nothing(policy, counters)}')
    chunks = read_table(out / CHUNKS)
    arms = len(embodiment.arm_names)
    unread = [f'{name}: {n} messages cannot be read' for name, n in policy.unread.items()]
    summary = {
        **about(bag, embodiment, options, tasks),
        'counts': _counts(counters),
        'open_loop_error': open_loop_error(
            chunks, outcome.paths(arms), plan_ends_ns(bag, offset_ns)
        ),
        'recorded_chunks': largest_difference(chunks, said),
        'gaps': [*bag.gaps, *unread],
    }
    (out / SUMMARY).write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')
    return Replayed(bag=bag, embodiment=embodiment, missing=tuple(missing), summary=summary)


def _inference(
    embodiment: Embodiment,
    options: Options,
    said: Sequence[ChunkSaid],
    offset_ns: int,
    path: Path,
) -> tuple[MakeLoop, Schedule]:
    """Return the maker of the inference loop and the schedule; load the model, if any."""
    usable = [
        RecordedChunk(chunk=each.chunk, received_ns=each.received_ns - offset_ns)
        for each in said
        if each.chunk is not None
    ]
    recorded = options.recorded_schedule or not options.model
    if recorded and not usable:
        raise ConfigError(f'{path}: holds no chunks of a policy to replay')
    schedule: Schedule = FixedLatency(options.latency_s, embodiment.control.replan_period_s)
    if recorded:
        schedule = RecordedSchedule(usable)
    make = (
        _model_loop(embodiment, options) if options.model else _recorded_loop(embodiment, usable)
    )
    return make, schedule


def _model_loop(embodiment: Embodiment, options: Options) -> MakeLoop:
    """Load the embodiment's model."""
    from xvla_ros.runtime.predictor import make_predictor

    predictor, facts = make_predictor(embodiment.policy)
    check_fit(embodiment, facts)
    answering = options.wrap(predictor)

    def make(inputs: Inputs, clock: Clock, send: Callable[[object], None]) -> Loop:
        return InferenceLoop(embodiment, answering, facts, inputs, clock, send)

    return make


def _recorded_loop(embodiment: Embodiment, chunks: Sequence[RecordedChunk]) -> MakeLoop:
    def make(inputs: Inputs, clock: Clock, send: Callable[[object], None]) -> Loop:
        return RecordedLoop(embodiment, chunks, inputs, send)

    return make


def _counts(counters: Counters) -> dict[str, object]:
    values = asdict(counters)
    values['faults'] = dict(sorted(counters.faults.items()))
    return values


def _why_nothing(policy: ReplayedPolicy, counters: Counters) -> str:
    """Return why there was no chunk at all."""
    reasons = [reason for reason, _ in counters.faults.most_common()]
    now = policy.snapshot().message
    unread = [f'{name}: {n} messages cannot be read' for name, n in policy.unread.items()]
    why = '; '.join(filter(None, [now, *reasons, *unread]))
    return f'no complete observation: {why or "no task"}'
