# SPDX-License-Identifier: Apache-2.0
"""The QoS of publishers in rosbag2's format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import yaml

# Names and, in bags of Humble and before, numbers of rmw's enumerations.
RELIABLE, TRANSIENT_LOCAL = ('reliable', 1), ('transient_local', 1)
# Latched types, for bags without the offered QoS.
LATCHED_KINDS = (
    'std_msgs/msg/String', 'xvla_ros/msg/PolicyStatus', 'xvla_ros/msg/ControllerStatus',
)  # fmt: skip
NEVER = {'sec': 9223372036, 'nsec': 854775807}

T = TypeVar('T')


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What a publisher offers: reliable or best effort, latched (transient local) or volatile."""

    reliable: bool = True
    latched: bool = False
    depth: int = 10

    def profile(self) -> dict[str, object]:
        """Return it in rosbag2's format (Jazzy)."""
        return {
            'history': 'keep_last', 'depth': self.depth,
            'reliability': 'reliable' if self.reliable else 'best_effort',
            'durability': 'transient_local' if self.latched else 'volatile',
            'deadline': dict(NEVER), 'lifespan': dict(NEVER), 'liveliness': 'automatic',
            'liveliness_lease_duration': dict(NEVER), 'avoid_ros_namespace_conventions': False,
        }  # fmt: skip


def profiles_text(offers: Sequence[Offer]) -> str:
    """Return QoS profiles as the YAML text of a channel's metadata."""
    return str(yaml.safe_dump([offer.profile() for offer in offers], sort_keys=False))


def read_offers(text: str) -> list[Offer]:
    """Return the profiles of such a text; none if it cannot be read."""
    try:
        profiles: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        return []
    if not isinstance(profiles, list):
        return []
    return [
        Offer(
            reliable=profile.get('reliability') in RELIABLE,
            latched=profile.get('durability') in TRANSIENT_LOCAL,
        )
        for profile in profiles
        if isinstance(profile, dict)
    ]


def is_latched(name: str, kind: str, offered: str) -> bool:
    """Tell whether the last message of a topic is valid for late subscribers."""
    offers = read_offers(offered)
    if offers:
        return all(offer.latched for offer in offers)
    return kind in LATCHED_KINDS or name.endswith('/tf_static')


class Latched(Generic[T]):
    """
    The last message of each latched topic, for late subscribers.

    Every publisher of /tf_static latches its own transforms, so all of those are kept.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[str, list[T]] = {}

    def keep(self, topic: str, message: T) -> None:
        """Store a message, replacing the previous one."""
        kept = self._kept.setdefault(topic, [])
        if not topic.endswith('/tf_static'):
            kept.clear()
        if message not in kept:
            kept.append(message)

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield topics and messages."""
        return ((topic, message) for topic, kept in self._kept.items() for message in kept)
