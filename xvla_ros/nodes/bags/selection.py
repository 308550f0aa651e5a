# SPDX-License-Identifier: Apache-2.0
"""Chooses which topics of a bag are played, with their names and types."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
import math
from pathlib import Path

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.topics import (
    COMPRESSED,
    description_streams,
    IMAGE,
    observation_streams,
    recorded_name,
    Stream,
    SUFFIX,
    why_missing,
)
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.nodes.common.polled import message_class


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """
    How to play a bag.

    rate: speed. start_s: time to skip. duration_s: time to play, None: to the end. clock: publish
    /clock. restamp: move header stamps to the present. paused: wait for resume or step. topics:
    play only these. everything: also those that the policy publishes; else only the inputs of the
    embodiment. overrides: dotted parameters of the embodiment. remap: topics with other names.
    """

    rate: float = 1.0
    start_s: float = 0.0
    duration_s: float | None = None
    loop: bool = False
    clock: bool = False
    restamp: bool = True
    paused: bool = False
    topics: tuple[str, ...] = ()
    everything: bool = False
    embodiment: Path | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    remap: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse options without a meaning."""
        if not 0 < self.rate < math.inf or not 0 <= self.start_s < math.inf:
            raise ConfigError(f'cannot play at rate {self.rate} from {self.start_s} s on')
        if self.clock and self.restamp:
            raise ConfigError('--clock needs recorded stamps: give --keep-stamps too')


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """One topic to play. unpack: it has JPEG or PNG images, but raw ones are wanted."""

    name: str
    kind: str
    unpack: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Topics to play, by their names in the bag, and a remark for each that is left out."""

    topics: dict[str, Played]
    remarks: tuple[str, ...] = ()


def choose(bag: Bag, live: Live) -> Program:
    """
    Return the topics to play.

    :raises ConfigError: a requested topic is not in the bag, no robot is known, or no topic is
        left.
    """
    remarks: list[str] = []
    if live.topics:
        chosen = dict(_asked(bag, name) for name in live.topics)
    elif live.everything:
        chosen = {name: Played(name=name, kind=topic.kind) for name, topic in bag.topics.items()}
    else:
        chosen = _heard(bag, _embodiment(bag, live), remarks)
    if live.overrides and (live.topics or live.everything):
        _embodiment(bag, live)  # a parameter that does not exist is refused all the same
    topics = dict(_installed(chosen, remarks))
    if not topics:
        why = '; '.join(remarks)
        raise ConfigError(f'{bag.path}: there is no topic to play: {why}')
    return Program(topics=topics, remarks=tuple(remarks))


def _asked(bag: Bag, topic: str) -> tuple[str, Played]:
    name = recorded_name(topic, bag.topics)
    if name is None:
        held = ', '.join(sorted(bag.topics))
        raise ConfigError(f'{bag.path}: {why_missing(topic, bag.topics)}; it has {held}')
    return name, Played(name=name, kind=bag.topics[name].kind)


def _heard(bag: Bag, embodiment: Embodiment, remarks: list[str]) -> dict[str, Played]:
    """Return the topics that the embodiment's nodes subscribe to."""
    chosen = {}
    for stream in (*observation_streams(embodiment), *description_streams(embodiment)):
        found = _played(bag, stream)
        if found is None:
            remarks.append(f'missing {stream.role}: {why_missing(stream.topic, bag.topics)}')
        else:
            chosen[found[0]] = found[1]
    if not chosen:
        raise ConfigError(f'{bag.path}: holds no topic of the embodiment; --all plays all it has')
    return chosen


def _played(bag: Bag, stream: Stream) -> tuple[str, Played] | None:
    """Return a stream's name in the bag and how to play it; None if the bag lacks it."""
    name = recorded_name(stream.topic, bag.topics)
    if name is not None:
        return name, Played(name=name, kind=bag.topics[name].kind)
    packed = recorded_name(stream.topic + SUFFIX, bag.topics)
    if stream.kind != IMAGE or packed is None or bag.topics[packed].kind != COMPRESSED:
        return None
    return packed, Played(name=packed.removesuffix(SUFFIX), kind=IMAGE, unpack=True)


def _installed(chosen: dict[str, Played], remarks: list[str]) -> Iterator[tuple[str, Played]]:
    for name, played in chosen.items():
        try:
            message_class(played.kind)
        except ConfigError as error:
            remarks.append(f'{name} is not played: {error}')
        else:
            yield name, played


def _embodiment(bag: Bag, live: Live) -> Embodiment:
    if live.embodiment:
        return load_embodiment(live.embodiment, live.overrides)
    if bag.recording is None:
        raise ConfigError(
            f'{bag.path}: not from `xvla record`: give --embodiment, --topics or --all'
        )
    return bag.recording.load_embodiment(str(bag.path), dict(live.overrides))
