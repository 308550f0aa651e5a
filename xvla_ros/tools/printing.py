# SPDX-License-Identifier: Apache-2.0
"""Prints findings in a terminal."""

from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING
from xvla_ros.data.errors import frame_name

SIGNS = {OK: 'ok     ', WARNING: 'WARNING', PROBLEM: 'PROBLEM'}


def print_finding(finding: Finding) -> None:
    """Print a finding, its place and its fix."""
    where = place(finding)
    found = f'{where}: {finding.found}' if where else finding.found
    print(f'{SIGNS[finding.level]}  {finding.name}: {found}', flush=True)
    if finding.fix:
        print(f'         -> {finding.fix}', flush=True)


def place(finding: Finding) -> str:
    """Return the place of a finding; empty if it is about everything."""
    named = finding.episode and f'episode {finding.episode}'
    return ', '.join(filter(None, (finding.file, named, frame_name(finding.frame))))
