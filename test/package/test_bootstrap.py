# SPDX-License-Identifier: Apache-2.0
"""The bootstrap: quick when nothing is to do, one clear line when the machine lacks something."""

import importlib.util
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """Copy what the bootstrap needs of the checkout, so that it cannot touch this environment."""
    for name in ('scripts', 'requirements'):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def bootstrap(checkout, **environment):
    command = [sys.executable, str(checkout / 'scripts' / 'bootstrap.py')]
    env = {'PATH': '/nonexistent', 'ROS_DISTRO': '', **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def load(checkout):
    """Import bootstrap.py of a checkout as a module."""
    spec = importlib.util.spec_from_file_location(
        'bootstrap', checkout / 'scripts' / 'bootstrap.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_missing_compiler_is_one_line_with_the_apt_command(checkout):
    result = bootstrap(checkout)
    assert result.returncode == 1
    line = result.stderr.strip()
    assert '\n' not in line
    assert 'sudo apt-get install -y --no-install-recommends g++' in line


def test_another_ros_distribution_is_refused_by_name(checkout):
    result = bootstrap(checkout, ROS_DISTRO='humble')
    assert result.returncode == 1
    assert "'humble'" in result.stderr
    assert 'jazzy' in result.stderr


def test_the_second_run_is_quick():
    if not (ROOT / '.venv' / '.xvla_bootstrapped').exists():
        pytest.skip('this environment was not made by scripts/bootstrap')
    env = {k: v for k, v in os.environ.items() if k != 'PYTHON' or 'ROS_DISTRO' in os.environ}
    started = time.monotonic()
    result = subprocess.run(
        [ROOT / 'scripts' / 'bootstrap'], env=env, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == '', 'it found something to do'
    assert time.monotonic() - started < 5.0


def test_cmake_files_of_the_wheels_are_pointed_at_this_python(checkout):
    module = load(checkout)
    (checkout / '.venv').mkdir()
    shutil.copytree(Path(sys.prefix) / 'bin', checkout / '.venv' / 'bin', symlinks=True)
    wheel = checkout / '.venv' / 'share' / 'some_msgs' / 'cmake' / 'export.cmake'
    wheel.parent.mkdir(parents=True)
    built_at = '/opt/python/cp312-cp312'
    wheel.write_text(
        f'INCLUDES "{built_at}/include/python3.12;'
        f'{built_at}/lib/python3.12/site-packages/numpy/_core/include;/usr/include"\n'
    )
    module.repair_cmake_files()
    text = wheel.read_text()
    assert '/opt/python' not in text
    assert f'{checkout}/.venv/lib/{module.VERSION}/site-packages/numpy/_core/include' in text
    assert text.endswith(';/usr/include"\n')
    module.repair_cmake_files()
    assert wheel.read_text() == text


def test_a_changed_lock_asks_for_a_new_run(checkout):
    module = load(checkout)
    before = module.fingerprint()
    with module.LOCK.open('a') as lock:
        lock.write('one-more==1.0\n')
    assert module.fingerprint() != before


def reference(checkout, *options):
    """Run bootstrap-reference where no package index answers."""
    command = [sys.executable, str(checkout / 'scripts' / 'bootstrap_reference.py'), *options]
    env = {
        **os.environ,
        'PIP_INDEX_URL': 'http://127.0.0.1:9/simple',
        'PIP_CONFIG_FILE': os.devnull,
    }
    env |= {'PIP_EXTRA_INDEX_URL': '', 'PIP_FIND_LINKS': ''}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)


def test_without_a_package_index_the_reference_environment_says_so_in_a_line(checkout):
    result = reference(checkout, '--sources')
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert 'no package index answered' in line
    assert not list((checkout / '.venv-reference').glob('.xvla_*')), 'a stamp, but no packages'
    shutil.rmtree(checkout / '.venv-reference')
