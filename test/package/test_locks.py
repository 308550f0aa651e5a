# SPDX-License-Identifier: Apache-2.0
"""The locks as pip itself sees them: plain pip must be able to install what uv has resolved."""

from pathlib import Path
import re
import subprocess
import sys

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / 'requirements'
# torch's wheels depend on the machine; accelerate and peft need torch. empy, which colcon needs,
# has no wheel, and pip resolves for another Python from wheels alone.
LEFT_OUT = re.compile(r'(torch|accelerate|peft|empy|colcon[-a-z]*)==')
PIP_S = 280


def pins(name):
    """Return the lines of a lock that name packages, by package."""
    lines = (REQUIREMENTS / name).read_text().splitlines()
    return {line.split('==')[0]: line.rstrip(' \\') for line in lines if '==' in line}


def resolve(lines, folder):
    """Return what pip says against installing lines on Python 3.12; empty when nothing."""
    listed = folder / 'lock.txt'
    listed.write_text('\n'.join(lines) + '\n')
    options = [
        '--dry-run',
        '--ignore-installed',
        '--python-version',
        '3.12',
        '--only-binary=:all:',
    ]
    command = [sys.executable, '-m', 'pip', 'install', '-q', *options]
    done = subprocess.run(
        [*command, '--target', str(folder / 'nothing'), '-r', str(listed)],
        capture_output=True,
        text=True,
        timeout=PIP_S,
    )
    return done.stderr if done.returncode else ''


def test_pip_resolves_the_lock_of_jazzy_on_its_python(tmp_path):
    trouble = resolve(['tqdm'], tmp_path)
    if trouble:
        pytest.skip(f'no package index answers: {trouble.splitlines()[-1]}')
    lines = [line for line in pins('lock-jazzy.txt').values() if not LEFT_OUT.match(line)]
    assert len(lines) > 50
    assert resolve(lines, tmp_path) == ''


def test_on_jazzy_ros_brings_pinocchio_and_ubuntu_numpy_and_pytest():
    jazzy = pins('lock-jazzy.txt')
    assert not [name for name in jazzy if name.startswith(('pin', 'cmeel', 'libpinocchio'))]
    assert jazzy['numpy'] == 'numpy==1.26.4'
    assert jazzy['pytest'] == 'pytest==7.4.4'
    assert int(re.findall(r'==(\d+)', jazzy['pyarrow'])[0]) < 26, '26 refuses numpy 1.26'
    elsewhere = pins('lock.txt')
    assert {'pin', 'numpy', 'pytest'} <= set(elsewhere)


@pytest.mark.parametrize('name', ['lock.txt', 'lock-jazzy.txt', 'docs.txt', 'torch-cuda.txt'])
def test_every_package_of_a_lock_has_a_hash_of_its_file(name):
    text = (REQUIREMENTS / name).read_text()
    packages = re.split(r'\n(?=\S)', text.strip())[1:]
    assert len(packages) >= 20
    bare = [p for p in packages if not re.search(r'--hash=sha256:[0-9a-f]{64}\b', p)]
    assert not bare
    assert 'torch' not in pins(name), 'torch has no hash: it is installed before, from torch.txt'


def test_pip_refuses_a_file_with_another_hash(tmp_path):
    trouble = resolve(['tqdm'], tmp_path)
    if trouble:
        pytest.skip(f'no package index answers: {trouble.splitlines()[-1]}')
    version = pins('lock.txt')['tqdm'].split(' ')[0]
    assert 'HASHES' in resolve([f'{version} --hash=sha256:{"0" * 64}'], tmp_path)
