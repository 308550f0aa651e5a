# SPDX-License-Identifier: Apache-2.0
"""
`colcon test` where torch is missing: the tests that need it are skipped, none fails for it.

A machine that has installed only the packages of ROS is such a machine.
"""

import os
from pathlib import Path
import re
import subprocess
import sys

from missing_packages import OPTIONAL, optional_name
import pytest

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / 'test' / 'support'
# Python imports this module by itself at the start, here in all processes of a test run.
BLOCK = """\
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {names}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Without())
"""
NAMES = ('torch', 'transformers', 'tokenizers', 'safetensors')
IMPORT = 'import runpy, sys; [runpy.run_path(path) for path in sys.argv[1:]]'


def collected(folder, *arguments):
    """Return what pytest says of the tests where packages are missing."""
    options = ('-q', '-rs', '-p', 'no:cacheprovider')
    return without(NAMES, folder, '-m', 'pytest', *options, *arguments)


def without(names, folder, *arguments):
    """Run Python where packages are missing."""
    (folder / 'sitecustomize.py').write_text(BLOCK.format(names=names))
    environment = {k: v for k, v in os.environ.items() if not k.startswith('PYTEST_')}
    environment['PYTHONPATH'] = os.pathsep.join(
        filter(None, (str(folder), str(SUPPORT), os.environ.get('PYTHONPATH')))
    )
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )


def test_every_test_is_collected_or_skipped(tmp_path):
    done = collected(tmp_path, '--collect-only', 'test')
    assert done.returncode == 0, done.stdout[-3000:]
    skipped = set(re.findall(r'^SKIPPED \[\d+\] (\S+):\d+: \w+ is not', done.stdout, re.M))
    assert {'test/model/test_policy.py', 'test/runtime/test_predictor.py'} <= skipped
    assert 'test/core/test_rotations.py::' in done.stdout


def test_what_a_folder_shares_imports_no_optional_package(tmp_path):
    """Else pytest 7, which cannot skip a folder, ends the run before the first test."""
    pytest.importorskip('rclpy', reason='a machine with the packages of ROS alone has it')
    shared = sorted(map(str, (ROOT / 'test').rglob('conftest.py')))
    assert len(shared) > 8
    done = without(sorted(OPTIONAL), tmp_path, '-c', IMPORT, *shared)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_test_that_needs_torch_late_is_skipped(tmp_path):
    late = tmp_path / 'test_late.py'
    late.write_text('def test_late():\n    import torch\n\ndef test_wrong():\n    import torc\n')
    options = ('-p', 'missing_packages', '-c', str(ROOT / 'pyproject.toml'))
    done = collected(tmp_path, *options, str(late))
    assert '1 failed, 1 skipped' in done.stdout, done.stdout
    assert 'torch is not installed' in done.stdout


def test_a_plugin_that_imports_each_file_does_not_end_the_run(tmp_path):
    """That of launch_testing does, which a machine with ROS has."""
    plugin = (
        'import runpy\ndef pytest_pycollect_makemodule(module_path):\n    runpy.run_path({})\n'
    )
    (tmp_path / 'imports_first.py').write_text(plugin.format('str(module_path)'))
    (tmp_path / 'test_needs.py').write_text('import torch\n')
    (tmp_path / 'test_plain.py').write_text('def test_plain():\n    pass\n')
    plugins = ('-p', 'missing_packages', '-p', 'imports_first')
    done = collected(tmp_path, *plugins, '-c', str(ROOT / 'pyproject.toml'), str(tmp_path))
    assert '1 passed, 1 skipped' in done.stdout, done.stdout


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ("E   ModuleNotFoundError: No module named 'torch'", 'torch'),
        ("ModuleNotFoundError: No module named 'torch.nn'", 'torch'),
        ("ModuleNotFoundError: No module named 'rclpy'", None),
        ("ModuleNotFoundError: No module named 'xvla_ros.modle'", None),
        ('AssertionError: torch', None),
    ],
)
def test_only_packages_that_ros_does_not_bring_are_optional(text, name):
    assert optional_name(text) == name
