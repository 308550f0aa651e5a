# SPDX-License-Identifier: Apache-2.0
"""Stores the timing of every tick and every answer of a run, for measurements."""

import json
import os
from pathlib import Path
import time
from typing import Any

from xvla_ros.core.ticker import LatenessRecord
from xvla_ros.runtime.state import Counters
from xvla_ros.runtime.worker_messages import STEPS, Timing

# Names a file stem: <stem>.npz gets the ticks, <stem>.json the rest, when the node is deactivated.
RECORD_VARIABLE = 'XVLA_RUN_RECORD'


class RunRecord:
    """Stores the timing if XVLA_RUN_RECORD is set, else does nothing."""

    def __init__(self) -> None:
        """Begin without an answer."""
        self._stem = os.environ.get(RECORD_VARIABLE)
        self._answers: list[dict[str, Any]] = []

    def note(self, sequence: int, timing: Timing, received_ns: int) -> None:
        """Note an answer that has just been judged; `received_ns` is on the monotonic clock."""
        if self._stem:
            passed = dict(zip(STEPS, timing.passed_ns, strict=True))
            passed |= {'received': received_ns, 'judged': time.monotonic_ns()}
            answer = {'sequence': sequence, 'image_ns': timing.image_ns, 'passed_ns': passed}
            self._answers.append(answer | {'inference_s': timing.inference_s})

    def save(self, ticks: LatenessRecord, counters: Counters) -> None:
        """Write both files."""
        if not self._stem:
            return
        ticks.save(Path(f'{self._stem}.npz'))
        facts = {
            'chunks': counters.chunks,
            'dropped_chunks': counters.dropped_chunks,
            'rejected_chunks': counters.rejected_chunks,
            'clamped_steps': counters.clamped_steps,
            'starved_ticks': counters.starved_ticks,
            'worker_restarts': counters.worker_restarts,
            'faults': dict(counters.faults),
            'inference_s': [answer['inference_s'] for answer in self._answers],
            'answers': self._answers,
        }
        Path(f'{self._stem}.json').write_text(json.dumps(facts), encoding='utf-8')
