# SPDX-License-Identifier: Apache-2.0
"""The table of published checkpoints, resource/checkpoints.yaml."""

from dataclasses import dataclass
from typing import Any

import yaml

from xvla_ros.core.resources import shared_file

TABLE = 'checkpoints.yaml'


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """
    The known facts of a published checkpoint.

    row: its row of the soft prompts. embodiment: file in config/, without its suffix.
    first_anchor_index: only if it differs from that of the checkpoint's format. note: for people.
    """

    row: int
    action_mode: str
    embodiment: str
    first_anchor_index: int | None = None
    note: str = ''


def published_checkpoints() -> dict[str, Published]:
    """Return the table, by the names on the Hugging Face hub."""
    with shared_file('resource', TABLE).open(encoding='utf-8') as file:
        table: dict[str, dict[str, Any]] = yaml.safe_load(file)
    return {name: Published(**facts) for name, facts in table.items()}
