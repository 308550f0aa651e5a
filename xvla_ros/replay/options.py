# SPDX-License-Identifier: Apache-2.0
"""Options of a replay: the user's, else the bag's, else defaults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xvla_ros import __version__
from xvla_ros.bags.bag import Bag
from xvla_ros.bags.fingerprint import find_checkpoint, fingerprint
from xvla_ros.bags.formats.storage import Raw
from xvla_ros.bags.message_types import read_message
from xvla_ros.bags.topics import INSTRUCTION, recorded_name, TASK
from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.replay.graph import Transforms
from xvla_ros.replay.policy import Tasks

if TYPE_CHECKING:  # imports torch
    from xvla_ros.runtime.predictor import Predictor

DEFAULT_LATENCY_S = 0.1
DEFAULT_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """
    How to replay.

    embodiment: a parameter file instead of the one in the bag. overrides: dotted parameters.
    checkpoint: instead of the one with the bag's fingerprint. instruction: instead of the bag's.
    latency_s: latency of every inference. recorded_schedule: infer when the live policy did.
    model: False uses the recorded chunks as the answers. start_s, duration_s: the part of the bag
    to replay. remap: topics with other names. transforms: reads an arm's pose from the bag's TF;
    without it a robot with poses from TF cannot be replayed. wrap: wraps the predictor.
    """

    embodiment: Path | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    checkpoint: Path | None = None
    instruction: str = ''
    latency_s: float = DEFAULT_LATENCY_S
    recorded_schedule: bool = False
    model: bool = True
    transforms: Transforms | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    remap: Mapping[str, str] = field(default_factory=dict)
    wrap: Callable[['Predictor'], 'Predictor'] = lambda predictor: predictor


def chosen_embodiment(bag: Bag, options: Options) -> Embodiment:
    """Return the embodiment with the checkpoint's current path and with fixed noise."""
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
            policy,
            checkpoint=checkpoint,
            adapter=_adapter(bag, embodiment, options),
            server_url='' if checkpoint else policy.server_url,
        )
    seed = policy.seed if policy.seed >= 0 else DEFAULT_SEED
    return replace(embodiment, policy=replace(policy, seed=seed))


def _checkpoint(bag: Bag, embodiment: Embodiment, options: Options) -> str:
    """Return the checkpoint to use: the requested, the recorded or the embodiment's."""
    if options.checkpoint is not None:
        return str(checkpoint_folder(options.checkpoint).resolve())
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


def about(bag: Bag, embodiment: Embodiment, options: Options, tasks: Tasks) -> dict[str, object]:
    """Return a description of the replay without paths or times of this machine."""
    named = embodiment.policy.checkpoint if options.model else ''
    checkpoint = checkpoint_folder(named) if named else Path()
    told = [tasks.instruction]
    if not tasks.instruction and tasks.topic:
        told = [tasks.read(raw) for raw in bag.messages({tasks.topic})]
    return {
        'version': __version__,
        'embodiment': embodiment.robot,
        'embodiment_from': options.embodiment.name if options.embodiment else 'the recording',
        'checkpoint': checkpoint.name,
        'checkpoint_sha256': fingerprint(checkpoint) if checkpoint.name else '',
        'instructions': [text for text in dict.fromkeys(told) if text],
        'overrides': dict(options.overrides),
        'remap': dict(options.remap),
        'latency_ms': round(options.latency_s * 1e3, 3),
        'schedule': 'recorded' if options.recorded_schedule or not options.model else 'fixed',
        'start_s': options.start_s,
        'duration_s': round(bag.duration_s, 3),
    }


def _instruction(raw: Raw) -> str:
    """Return the instruction in a message of the task; empty for an unreadable one."""
    try:
        return str(read_message(raw.kind, raw.data).data).strip()
    except ObservationError:
        return ''


def _adapter(bag: Bag, embodiment: Embodiment, options: Options) -> str:
    """
    Return the LoRA adapter to merge: the embodiment's, but none with a requested checkpoint.

    :raises ConfigError: it differs from the adapter of the recording.
    """
    adapter, recorded = embodiment.policy.adapter, bag.recording
    if not adapter or options.checkpoint is not None:
        return ''
    wanted = recorded.adapter_fingerprint if recorded and options.embodiment is None else ''
    if wanted and fingerprint(checkpoint_folder(adapter)) != wanted:
        raise ConfigError(
            f'{bag.path}: its LoRA adapter (SHA-256 {wanted[:12]}...) differs from the one at '
            f'{adapter}: give a checkpoint with the adapter merged in by --checkpoint, or '
            '--no-model to replay the recorded chunks'
        )
    return adapter


def chosen_tasks(bag: Bag, embodiment: Embodiment, options: Options) -> Tasks:
    """Return the policy's tasks: from the option, the bag's topic, or the recorder."""
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
        read=_instruction,
    )
