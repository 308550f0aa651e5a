# SPDX-License-Identifier: Apache-2.0
"""The source file beside a dataset that was written here: it reads the data back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from xvla_ros.core.ee6d import ARM_SIZE
from xvla_ros.data.source import BESIDE
from xvla_ros.data.writers.options import WriteOptions
from xvla_ros.data.writers.vectors import LAYOUT


def write_source(
    folder: Path,
    head: Mapping[str, Any],
    arms: Sequence[str],
    options: WriteOptions,
    keys: tuple[str, str],
    gripper: tuple[float, float] = (0.0, 1.0),
) -> None:
    """
    Write a source file for rows of EE6D.

    :param keys: of the state and of the action, which is empty where there is none.
    :param gripper: the numbers that mean open and closed.
    """
    blocks = {
        name: {
            kind: _pose(key, ARM_SIZE * index, gripper)
            for kind, key in zip(('state', 'action'), keys, strict=True)
            if key
        }
        for index, name in enumerate(arms)
    }
    content = {
        **head,
        'paths': head.get('paths', ['.']),
        'arms': blocks,
        'grippers_begin': options.grippers_begin,
    }
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
    (folder / BESIDE).write_text(
        f'# How to read this data: `xvla adapt --source {folder.name}`.\n{text}', encoding='utf-8'
    )


def _pose(key: str, begin: int, gripper: tuple[float, float]) -> dict[str, Any]:
    return {
        'position': f'{key}[{begin}:{begin + 3}]',
        'rotation': f'{key}[{begin + 3}:{begin + 9}]',
        'rotation_format': f'rotate6d_{LAYOUT}',
        'gripper': f'{key}[{begin + 9}]',
        'gripper_open': gripper[0],
        'gripper_closed': gripper[1],
    }
