# SPDX-License-Identifier: Apache-2.0
"""The stages between a camera's stamp and a target add up, and each is what it says."""

import numpy as np
import pytest

from bench.realtime_stages import STAGES, stages_ms

MS = 1_000_000
OFFSET_NS = 5_000 * MS  # the system clock is ahead of the monotonic one
TRIGGER_NS = 9_000 * MS
STEPS = ('free', 'ready', 'frozen', 'asked', 'answered', 'received', 'judged')


def answer(sequence, *after_ms, image_ms=1):
    """Return an answer whose steps were passed so long after the cameras' trigger."""
    steps = zip(STEPS, after_ms, strict=True)
    passed = {name: TRIGGER_NS - OFFSET_NS + ms * MS for name, ms in steps}
    return {
        'sequence': sequence,
        'image_ns': TRIGGER_NS + image_ms * MS,
        'passed_ns': passed,
    }


def stages(second, targets_ms):
    first = answer(1, 0, 6, 7, 8, 20, 21, 23)
    targets = {sequence: TRIGGER_NS + ms * MS for sequence, ms in targets_ms.items()}
    return stages_ms([first, second], targets, [(TRIGGER_NS, TRIGGER_NS + 4 * MS)], OFFSET_NS)


def test_each_stage_is_the_time_between_its_marks():
    found = stages(answer(2, 0, 6, 7, 9, 20, 21, 23), {1: 30, 2: 30})
    assert {name: found[name].tolist() for name in STAGES} == {
        'publish': [3], 'busy': [0], 'arrive': [2], 'observe': [1], 'proprio': [2],
        'model': [11], 'answer': [1], 'judge': [2], 'tick': [7],
    }  # fmt: skip
    assert found['overhead'] == pytest.approx(29 - 11)


def test_frames_that_wait_for_the_model_are_not_blamed_on_the_transport():
    found = stages(answer(2, 10, 11, 12, 13, 20, 21, 23), {2: 30})
    assert (found['busy'], found['arrive']) == (6, 1)
    assert found['beside_model'] == pytest.approx(29 - 7)
    assert found['overhead'] == pytest.approx(29 - 7 - 6)


def test_a_chunk_that_was_never_followed_or_seen_before_any_trigger_is_left_out():
    assert len(stages(answer(2, 0, 6, 7, 9, 20, 21, 23), {1: 30})['overhead']) == 0
    early = answer(2, 0, 6, 7, 9, 20, 21, 23, image_ms=-1)
    assert np.size(stages(early, {2: 30})['overhead']) == 0
