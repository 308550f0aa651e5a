# SPDX-License-Identifier: Apache-2.0
"""RViz' configuration for one robot: config/xvla.rviz with its topics, cameras and namespace."""

from copy import deepcopy
from pathlib import Path
import tempfile
from typing import Any

import yaml

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.resources import shared_file

IMAGE, ROBOT = 'rviz_default_plugins/Image', 'rviz_default_plugins/RobotModel'
WORLD_FRAME = 'world'  # of a simulation


def rviz_config(embodiment: Embodiment, namespace: str = '') -> dict[str, Any]:
    """
    Return the configuration.

    :param namespace: of the robot's nodes, with or without slashes around it; empty for none.
    """
    config: dict[str, Any] = yaml.safe_load(shared_file('config', 'xvla.rviz').read_text())
    manager = config['Visualization Manager']
    examples = {display['Class']: display for display in manager['Displays']}
    own = [
        *_robots(embodiment, examples[ROBOT]),
        *(d for d in manager['Displays'] if d['Class'] not in (IMAGE, ROBOT)),
    ]
    for display in own:
        for key in ('Topic', 'Description Topic'):
            if key in display:
                topic = display[key]['Value'].lstrip('/')
                display[key]['Value'] = absolute(topic, namespace)
    manager['Displays'] = [*own, *_images(embodiment, namespace, examples[IMAGE])]
    manager['Global Options']['Fixed Frame'] = _fixed_frame(embodiment)
    return config


def _fixed_frame(embodiment: Embodiment) -> str:
    """Return the simulated world, or the base of a real robot's first arm."""
    first = embodiment.arm_names[0]
    base = f'{embodiment.frame_prefix(first)}{embodiment.arms[first].base_frame}'
    return WORLD_FRAME if embodiment.sim else base


def _robots(embodiment: Embodiment, example: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a display for each arm whose description is a topic of its own, else one for all."""
    displays = []
    for prefix in dict.fromkeys(embodiment.frame_prefix(arm) for arm in embodiment.arm_names):
        display = deepcopy(example)
        display['Name'] = f'Robot {prefix}'.strip(' /')
        display['TF Prefix'] = prefix.removesuffix('/')
        topic = display['Description Topic']['Value'].lstrip('/')
        display['Description Topic']['Value'] = f'{prefix}{topic}'
        displays.append(display)
    return displays


def _images(
    embodiment: Embodiment, namespace: str, example: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a display for each camera; RViz' transports name a compressed topic by its base."""
    displays = []
    for name, camera in embodiment.cameras.items():
        display = deepcopy(example)
        display['Name'] = f'Camera {name}'
        topic = camera.topic.removesuffix('/compressed') if camera.compressed else camera.topic
        display['Topic']['Value'] = absolute(topic, namespace)
        if camera.compressed:
            display['Transport Hint'] = 'compressed'
        displays.append(display)
    return displays


def absolute(topic: str, namespace: str) -> str:
    """Return a topic's full name: relative ones are below the namespace."""
    if topic.startswith('/'):
        return topic
    return '/'.join(['', *filter(None, namespace.split('/')), topic])


def write_rviz_config(embodiment: Embodiment, namespace: str = '') -> Path:
    """Write the configuration to a temporary file, which RViz may change, and return it."""
    with tempfile.NamedTemporaryFile('w', suffix='.rviz', prefix='xvla_', delete=False) as file:
        yaml.safe_dump(rviz_config(embodiment, namespace), file, sort_keys=False)
    return Path(file.name)
