# SPDX-License-Identifier: Apache-2.0
"""Replay every case of --replay-cases; docs/replay.md has a template of one's own."""

from pathlib import Path

from xvla_ros.testing.replay_case import check_replay, ReplayCase


def test_bag_replays_as_expected(
    replay_case: ReplayCase, tmp_path: Path, update_golden: bool
) -> None:
    """One bag, held against what must come out."""
    check_replay(replay_case, tmp_path, update_golden)
