# SPDX-License-Identifier: Apache-2.0
"""docs/embodiments.md agrees with the settings in the code."""

from xvla_ros.core.resources import shared_file
from xvla_ros.tools.reference_page import page


def test_the_page_is_up_to_date():
    written = shared_file('config', 'franka.yaml').parents[1] / 'docs' / 'embodiments.md'
    assert written.read_text() == page(), 'run python -m xvla_ros.tools.reference_page'


def test_every_key_is_described():
    rows = [
        line for line in page().splitlines() if line.startswith('| `') and line.count('|') == 5
    ]
    assert len(rows) > 80
    assert all(line.rstrip(' |').endswith(('.', ')')) for line in rows)
