# SPDX-License-Identifier: Apache-2.0
"""Robot descriptions from topics, for embodiments with `urdf: topic:NAME`."""

from collections.abc import Callable
from dataclasses import replace

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError


def filled(embodiment: Embodiment, read: Callable[[str], str]) -> Embodiment:
    """
    Return the embodiment with each topic's text in place of `topic:NAME`; each is read once.

    :raises ConfigError: a text is no URDF.
    """
    topics = {arm.urdf_topic for arm in embodiment.arms.values()} - {''}
    if not topics:
        return embodiment
    texts = {topic: read(topic) for topic in sorted(topics)}
    for topic, text in texts.items():
        if '<robot' not in text:
            raise ConfigError(f"'{topic}': expected a URDF, got {text[:60]!r}")
    arms = {
        name: replace(arm, urdf=texts[arm.urdf_topic]) if arm.urdf_topic else arm
        for name, arm in embodiment.arms.items()
    }
    return replace(embodiment, arms=arms)
