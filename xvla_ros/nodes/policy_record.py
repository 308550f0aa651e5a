# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind for those who measure: every tick and every inference."""

import json
import os
from pathlib import Path

from xvla_ros.core.ticker import LatenessRecord
from xvla_ros.nodes.policy_state import Counters

# Names a file stem: <stem>.npz gets the ticks, <stem>.json the rest, when the node is deactivated.
RECORD_VARIABLE = 'XVLA_RUN_RECORD'


def save_run(ticks: LatenessRecord, counters: Counters, inference_s: list[float]) -> None:
    """Write both files where the environment asks for them; without it do nothing."""
    stem = os.environ.get(RECORD_VARIABLE)
    if not stem:
        return
    ticks.save(Path(f'{stem}.npz'))
    facts = {
        'chunks': counters.chunks,
        'dropped_chunks': counters.dropped_chunks,
        'rejected_chunks': counters.rejected_chunks,
        'clamped_steps': counters.clamped_steps,
        'starved_ticks': counters.starved_ticks,
        'worker_restarts': counters.worker_restarts,
        'faults': dict(counters.faults),
        'inference_s': inference_s,
    }
    Path(f'{stem}.json').write_text(json.dumps(facts), encoding='utf-8')
