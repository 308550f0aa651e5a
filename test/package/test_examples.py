# SPDX-License-Identifier: Apache-2.0
"""Every script of examples/ runs as its first lines say."""

import subprocess
import sys

from bags import ROOT, write_strings
import pytest

EXAMPLES = {  # script: what it must print
    'predict.py': 'pick up the red block: 30 anchors',
    'serve_and_ask.py': 'it answered (30, 20) float32',
    'read_bag.py': '50 x /words (std_msgs/msg/String), 100.0 Hz',
    'embodiment_in_python.py': 'a misspelt key is refused',
    'rotations.py': '(30, 6)',
}


def arguments(script, folder):
    if script == 'read_bag.py':
        return [str(write_strings(folder / 'bag'))]
    return ['my_lab.yaml'] if script == 'embodiment_in_python.py' else []


def test_every_script_is_tested():
    assert {path.name for path in (ROOT / 'examples').glob('*.py')} == set(EXAMPLES)


@pytest.mark.parametrize('script', EXAMPLES)
def test_an_example_runs(script, tmp_path):
    command = [sys.executable, ROOT / 'examples' / script, *arguments(script, tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert EXAMPLES[script] in result.stdout
