# SPDX-License-Identifier: Apache-2.0
"""The controller on /diagnostics (REP 107)."""

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue


def diagnostics(
    name: str, hardware: str, level: bytes, text: str, values: Mapping[str, int]
) -> DiagnosticArray:
    """Return one status with its counters."""
    status = DiagnosticStatus(
        level=level,
        name=name,
        message=text,
        hardware_id=hardware,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
    return DiagnosticArray(status=[status])
