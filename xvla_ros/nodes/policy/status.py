# SPDX-License-Identifier: Apache-2.0
"""The policy's state as messages: PolicyStatus for programs, /diagnostics for people."""

from dataclasses import dataclass
import math

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np

from xvla_ros.core.ticker import LatenessRecord
from xvla_ros.msg import PolicyStatus
from xvla_ros.nodes.common.conversions import ns_to_stamp
from xvla_ros.runtime.state import Snapshot, State

# Lateness figures cover this many of the most recent ticks: 20 s at 50 Hz.
RECENT_TICKS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Lateness:
    """How late recent ticks ran [ms]; how many ever were more than half a period late."""

    p50_ms: float = math.nan
    p99_ms: float = math.nan
    max_ms: float = math.nan
    missed: int = 0


def lateness(recent: LatenessRecord, missed: int) -> Lateness:
    """Return the figures of recent ticks."""
    if not len(recent.lateness_ns):
        return Lateness()
    p50_ms, p99_ms, max_ms = np.percentile(recent.lateness_ns, (50, 99, 100)) / 1e6
    return Lateness(p50_ms=p50_ms, p99_ms=p99_ms, max_ms=max_ms, missed=missed)


def status_message(snapshot: Snapshot, lateness: Lateness, now_ns: int) -> PolicyStatus:
    """Return the status as it is published."""
    counters = snapshot.counters
    message = PolicyStatus(
        state=int(snapshot.state),
        message=snapshot.message,
        reason_code=snapshot.reason.code,
        reason_source=snapshot.reason.source,
        armed=snapshot.armed,
        sequence=snapshot.sequence,
        image_age_s=snapshot.timing.image_age_s,
        preprocess_s=snapshot.timing.preprocess_s,
        inference_s=snapshot.timing.inference_s,
        observation_age_s=snapshot.observation_age_s,
        queue_remaining_s=snapshot.queue_remaining_s,
        processor_share=snapshot.timing.processor_share,
        chunks=counters.chunks,
        dropped_chunks=counters.dropped_chunks,
        rejected_chunks=counters.rejected_chunks,
        clamped_steps=counters.clamped_steps,
        ticks=counters.ticks,
        starved_ticks=counters.starved_ticks,
        missed_ticks=lateness.missed,
        worker_restarts=counters.worker_restarts,
        lateness_p50_ms=lateness.p50_ms,
        lateness_p99_ms=lateness.p99_ms,
        lateness_max_ms=lateness.max_ms,
    )
    message.header.stamp = ns_to_stamp(now_ns)
    return message


def diagnostics_message(name: str, status: PolicyStatus, snapshot: Snapshot) -> DiagnosticArray:
    """Return the diagnostics for rqt_robot_monitor or Foxglove, with every counted reason."""
    level = DiagnosticStatus.OK
    if snapshot.state in (State.WAITING, State.HOLDING):
        level = DiagnosticStatus.WARN
    if snapshot.state == State.FAULT:
        level = DiagnosticStatus.ERROR
    fields = [
        f for f in status.get_fields_and_field_types() if f not in ('header', 'state', 'message')
    ]
    values = [KeyValue(key=f, value=_text(getattr(status, f))) for f in fields]
    values += [
        KeyValue(key=reason, value=str(count))
        for reason, count in sorted(snapshot.counters.faults.items())
    ]
    entry = DiagnosticStatus(
        level=level,
        name=f'{name}: policy',
        message=f'{snapshot.state.name}{": " if snapshot.message else ""}{snapshot.message}',
        hardware_id='',
        values=values,
    )
    array = DiagnosticArray(status=[entry])
    array.header.stamp = status.header.stamp
    return array


def _text(value: object) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)
