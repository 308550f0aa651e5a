# SPDX-License-Identifier: Apache-2.0
"""
Skip what needs a Python package that ROS does not bring, where it is missing: a pytest plugin.

On a machine that has only the packages of ROS, `colcon test` runs what such a machine can run. A
missing package of ROS or of the core is still an error. A conftest.py imports such a package in
its fixtures: else pytest 7, which Ubuntu 24.04 ships, would leave out every test.
"""

from importlib.util import find_spec
import re

import pytest

# What requirements/ brings and the distribution of ROS does not, by its name in Python.
OPTIONAL = {
    *(
        'torch',
        'transformers',
        'tokenizers',
        'safetensors',
        'huggingface_hub',
        'accelerate',
        'peft',
    ),
    *('mujoco', 'pinocchio', 'rosbags', 'mcap', 'zstandard', 'lz4', 'simplejpeg', 'imageio'),
    *('fastapi', 'starlette', 'uvicorn', 'websockets', 'httpx', 'msgpack', 'msgpack_numpy'),
    *('json_numpy', 'pyarrow', 'av', 'h5py'),
}
MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")


def is_installed(name):
    """Tell whether a package can be imported, without importing it."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


# For tests that need torch in another process only.
needs_torch = pytest.mark.skipif(not is_installed('torch'), reason='torch is not installed')


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path, parent):
    """
    Leave to an installed launch_testing only the tests that it runs, where they can run.

    Its plugin imports each file before pytest looks at it; one that it cannot import ends the run.
    """
    theirs = module_path.name.endswith('_launch.py') and can_launch()
    return None if theirs else pytest.Module.from_parent(parent, path=module_path)


def can_launch():
    """Tell whether the simulated robot and the policy of the launch files can start."""
    return all(map(is_installed, ('torch', 'mujoco', 'pinocchio')))


def optional_name(text):
    """Return the optional package that a traceback ends for, None if it ends for another cause."""
    names = MISSING.findall(text)
    return names[-1] if names and names[-1] in OPTIONAL else None


def skip_report(report, path, text):
    """Turn the failure of a test, a module or a folder into a skip, when its cause allows that."""
    name = optional_name(text)
    if report.outcome == 'failed' and name:
        report.outcome = 'skipped'
        report.longrepr = (str(path), 0, f'Skipped: {name} is not installed')


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """Look at a module or folder that cannot be imported."""
    report = (yield).get_result()
    if report.outcome == 'failed':
        skip_report(report, collector.path, str(report.longrepr))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Look at a test or fixture that has failed with a missing package."""
    report = (yield).get_result()
    if call.excinfo and isinstance(call.excinfo.value, ModuleNotFoundError):
        skip_report(report, item.path, call.excinfo.exconly())
