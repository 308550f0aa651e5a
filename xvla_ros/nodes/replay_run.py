# SPDX-License-Identifier: Apache-2.0
"""A deterministic replay from end to end: a bag and options in, files and figures out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
import json
from pathlib import Path

import numpy as np

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.core.safety import Verdict
from xvla_ros.nodes.inference_loop import InferenceLoop
from xvla_ros.nodes.policy_fit import check_fit
from xvla_ros.nodes.policy_state import Command, Counters, State
from xvla_ros.nodes.replay_policy import ReplayedPolicy, Tasks
from xvla_ros.nodes.replay_worker import (
    FixedLatency,
    Loop,
    RecordedChunk,
    RecordedLoop,
    RecordedSchedule,
    ReplayedWorker,
)
from xvla_ros.replay.bag import Bag, open_bag
from xvla_ros.replay.chunks import arm_rows, ChunkSaid, plan_ends_ns, recorded_chunks
from xvla_ros.replay.comparison import largest_difference, open_loop_error, Path3d
from xvla_ros.replay.fingerprint import find_checkpoint
from xvla_ros.replay.message_types import read_message
from xvla_ros.replay.results import CHUNKS, read_table, ResultFiles, SUMMARY
from xvla_ros.replay.timeline import clock_offset_ns
from xvla_ros.replay.topics import (
    INSTRUCTION,
    match_streams,
    observation_streams,
    recorded_name,
    TASK,
)

DEFAULT_LATENCY_S = 0.1
DEFAULT_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """
    How to replay.

    embodiment: a parameter file instead of the one in the bag. overrides: dotted parameters.
    checkpoint: instead of the one that the bag's fingerprint finds. instruction: instead of the
    bag's. latency_s: of every inference. recorded_schedule: infer when the live policy did.
    model: False takes the recorded chunks as the answers.
    """

    embodiment: Path | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    checkpoint: Path | None = None
    instruction: str = ''
    latency_s: float = DEFAULT_LATENCY_S
    recorded_schedule: bool = False
    model: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Replayed:
    """What came of a replay; `summary` is what summary.json holds."""

    bag: Bag
    embodiment: Embodiment
    missing: tuple[str, ...]
    summary: dict[str, object]


class _Outcome:
    """Writes what the policy decides, and keeps where the arms were."""

    def __init__(self, files: ResultFiles) -> None:
        self._files = files
        self.stamps_ns: list[int] = []
        self.poses: list[np.ndarray] = []

    def tick(self, now_ns: int, command: Command, state: State, message: str) -> None:
        self._files.target(now_ns, command.sequence, command.targets)
        self._files.state(now_ns, state.name, message)

    def chunk(self, chunk: Chunk, verdict: Verdict, measured: Sequence[ArmPose]) -> None:
        self._files.chunk(chunk, verdict)

    def measured(self, now_ns: int, arms: Sequence[ArmPose]) -> None:
        self.stamps_ns.append(now_ns)
        self.poses.append(arm_rows(arms)[:, :7])

    def paths(self, arms: int) -> list[Path3d]:
        stamps = np.array(self.stamps_ns, np.int64)
        poses = np.array(self.poses).reshape(len(stamps), arms, 7)
        return [Path3d(stamps_ns=stamps, poses=poses[:, index]) for index in range(arms)]


def replay_deterministic(path: Path, out: Path, options: Options) -> Replayed:
    """
    Replay a bag into `out`.

    :raises ConfigError: the embodiment or the checkpoint is not known.
    :raises ObservationError: the bag cannot be read, or holds no complete observation.
    """
    bag = open_bag(path)
    embodiment = _embodiment(bag, options)
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
    make_worker = _worker_maker(embodiment, options, said, offset_ns, path)
    with ResultFiles(out, embodiment) as files:
        outcome = _Outcome(files)
        policy = ReplayedPolicy(bag, embodiment, offset_ns, outcome)
        counters = policy.run(make_worker, _tasks(bag, embodiment, options))
        files.counts(_counts(counters))
    if not counters.chunks:
        raise ObservationError(f'{path}: {_why_nothing(policy, counters)}')
    chunks = read_table(out / CHUNKS)
    arms = len(embodiment.arm_names)
    summary = {
        'counts': _counts(counters),
        'open_loop_error': open_loop_error(
            chunks, outcome.paths(arms), plan_ends_ns(bag, offset_ns)
        ),
        'recorded_chunks': largest_difference(chunks, said),
        'gaps': bag.gaps,
    }
    (out / SUMMARY).write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')
    return Replayed(bag=bag, embodiment=embodiment, missing=tuple(missing), summary=summary)


def _embodiment(bag: Bag, options: Options) -> Embodiment:
    """Return the embodiment with its checkpoint where it is now, and with fixed noise."""
    overrides = dict(options.overrides)
    if options.embodiment is not None:
        embodiment = load_embodiment(options.embodiment, overrides)
    elif bag.recording is not None:
        embodiment = bag.recording.load_embodiment(str(bag.path), overrides)
    else:
        raise ConfigError(f'{bag.path}: not from `xvla record`: give its robot by --embodiment')
    policy = embodiment.policy
    if options.model:
        checkpoint = _checkpoint(bag, embodiment, options)
        policy = replace(
            policy, checkpoint=checkpoint, server_url='' if checkpoint else policy.server_url
        )
    seed = policy.seed if policy.seed >= 0 else DEFAULT_SEED
    return replace(embodiment, policy=replace(policy, seed=seed))


def _checkpoint(bag: Bag, embodiment: Embodiment, options: Options) -> str:
    """Return the checkpoint to use: the one asked for, the recorded one, the embodiment's."""
    if options.checkpoint is not None:
        return str(options.checkpoint.resolve())
    recorded = bag.recording
    if recorded is None or not recorded.fingerprint or options.embodiment is not None:
        return embodiment.policy.checkpoint
    found = find_checkpoint(recorded.fingerprint, recorded.checkpoint, bag.path)
    if found is None:
        raise ConfigError(
            f'{bag.path}: its checkpoint (SHA-256 {recorded.fingerprint[:12]}..., was at '
            f'{recorded.checkpoint}) is neither there, beside the bag nor bundled: give '
            '--checkpoint, or --no-model to replay the recorded chunks'
        )
    return str(found.resolve())


def _tasks(bag: Bag, embodiment: Embodiment, options: Options) -> Tasks:
    """Return what the policy follows: the option, the bag's topic, else what was told before."""
    topic = recorded_name(TASK, bag.topics) or recorded_name(INSTRUCTION, bag.topics)
    instruction = options.instruction
    if not instruction and topic is None:
        recorded = bag.recording.instruction if bag.recording else ''
        instruction = recorded or embodiment.policy.instruction
        if not instruction:
            raise ConfigError(f'{bag.path}: holds no instruction: give one by --instruction')
    return Tasks(
        instruction=instruction,
        topic=topic,
        read=lambda raw: read_message(raw.kind, raw.data).data.strip(),
    )


def _worker_maker(
    embodiment: Embodiment,
    options: Options,
    said: Sequence[ChunkSaid],
    offset_ns: int,
    path: Path,
) -> Callable[[ReplayedPolicy], tuple[Loop, ReplayedWorker]]:
    """Return what makes the worker once the inputs are there; loads the model, if there is one."""
    usable = [
        RecordedChunk(chunk=each.chunk, received_ns=each.received_ns - offset_ns)
        for each in said
        if each.chunk is not None
    ]
    if (options.recorded_schedule or not options.model) and not usable:
        raise ConfigError(f'{path}: holds no chunks of a policy to replay')
    predictor, facts = None, None
    if options.model:
        from xvla_ros.nodes.predictor import make_predictor

        predictor, facts = make_predictor(embodiment.policy)
        check_fit(embodiment, facts)

    def make(policy: ReplayedPolicy) -> tuple[Loop, ReplayedWorker]:
        inputs = policy.inputs
        loop: Loop
        if predictor is None or facts is None:
            loop = RecordedLoop(embodiment, usable, inputs, policy.send)
        else:
            loop = InferenceLoop(embodiment, predictor, facts, inputs, policy.clock, policy.send)
        recorded = options.recorded_schedule or not options.model
        period_s = embodiment.control.replan_period_s
        schedule = (
            RecordedSchedule(usable) if recorded else FixedLatency(options.latency_s, period_s)
        )
        return loop, ReplayedWorker(loop, inputs, schedule)

    return make


def _counts(counters: Counters) -> dict[str, object]:
    values = asdict(counters)
    values['faults'] = dict(sorted(counters.faults.items()))
    return values


def _why_nothing(policy: ReplayedPolicy, counters: Counters) -> str:
    """Say why a bag gave no chunk at all."""
    reasons = [reason for reason, _ in counters.faults.most_common()]
    now = policy.control.snapshot(policy.clock.now_ns).message
    return f'no complete observation: {"; ".join(filter(None, [now, *reasons])) or "no task"}'
