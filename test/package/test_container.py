# SPDX-License-Identifier: Apache-2.0
"""Dockerfile and workflow, as far as can be tried without running them."""

from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / 'Dockerfile').read_text()
WORKFLOW = yaml.safe_load((ROOT / '.github' / 'workflows' / 'test.yml').read_text())
# Packages of Ubuntu 24.04 that scripts/bootstrap.py asks for too, besides pip.
UBUNTU = {
    *('g++', 'make', 'python3-dev', 'python3-pip', 'python3-venv'),
    *('libegl1', 'libgl1', 'libgl1-mesa-dri'),
}


def instructions():
    """Return (name, rest) of every instruction, continuations joined."""
    lines = [line for line in TEXT.splitlines() if not line.startswith('#')]
    joined = '\n'.join(lines).replace('\\\n', ' ').splitlines()
    return [tuple(line.split(' ', 1)) for line in joined if line.strip()]


RUNS = [rest for name, rest in instructions() if name == 'RUN']


def installed(command):
    """Return what `apt-get install` of a command installs."""
    packages = set()
    for part in command.split('&&'):
        words = shlex.split(part)
        if 'apt-get' in words and 'install' in words:
            packages |= {word for word in words[words.index('install') + 1 :] if word[0] != '-'}
    return packages


def distributions():
    """Return the rows of the table in docs/install.md: name to state."""
    rows = re.findall(
        r'^\| (\w+) \| \d\d\.04 \|.*\| ([^|]+) \|$', (ROOT / 'docs/install.md').read_text(), re.M
    )
    return dict(rows)


def test_hadolint_finds_nothing():
    hadolint = Path(sys.prefix) / 'bin' / 'hadolint'
    if not hadolint.exists():
        pytest.skip('hadolint is not installed')
    done = subprocess.run([hadolint, ROOT / 'Dockerfile'], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '')


@pytest.mark.parametrize('command', RUNS, ids=lambda c: c[:40])
def test_each_run_is_a_command_that_bash_can_read(command):
    bash = shutil.which('bash')
    done = subprocess.run([bash, '-n', '-c', command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')


def test_packages_of_ubuntu_are_known_and_the_compiler_stays_out_of_the_last_stage():
    stages = TEXT.split('\nFROM ')
    assert len(stages) == 4  # the head, and three stages
    assert set().union(*map(installed, RUNS)) == UBUNTU
    assert stages[-1].startswith('ros\n')
    assert 'g++' not in stages[1] + stages[-1]
    assert 'COPY --from=build' in stages[-1]


def test_keys_that_are_skipped_are_keys_of_the_package():
    (skipped,) = re.findall(r'SKIP="([^"]+)"', TEXT)
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    keys = {node.text for node in root if node.tag.endswith('depend')}
    assert set(skipped.split()) <= keys
    install = (ROOT / 'docs' / 'install.md').read_text()
    (documented,) = re.findall(r'--skip-keys "([^"]+)"', install)
    assert set(documented.split()) == set(skipped.split()) - {'rviz2'}


def test_what_the_files_name_exists():
    for name in re.findall(r'xvla_ros (\w+\.launch\.py)', TEXT):
        assert (ROOT / 'launch' / name).exists()
    for source in re.findall(r'^COPY (?!--from)(.+) \S+$', TEXT, re.M):
        assert all((ROOT / name).exists() for name in source.split())


def test_the_workflow_covers_the_distributions_of_the_table():
    jobs = WORKFLOW['jobs']
    others = jobs['distributions']['strategy']['matrix']['ros']
    table = distributions()
    assert [name for name, state in table.items() if state == 'yes'] == ['jazzy']
    assert {*others, 'jazzy'} == set(table)
    assert jobs['jazzy']['container'] == re.findall(r'^FROM (\S+) AS ros$', TEXT, re.M)[0]
    pythons = jobs['wheels']['strategy']['matrix']['python']
    assert pythons == ['3.10', '3.11', '3.12', '3.13']


@pytest.mark.parametrize('job', WORKFLOW['jobs'])
def test_each_step_of_the_workflow_is_a_command_that_bash_can_read(job):
    for step in WORKFLOW['jobs'][job]['steps']:
        command = re.sub(r'\$\{\{.*?\}\}', 'x', step.get('run', ''))
        done = subprocess.run(['bash', '-n', '-c', command], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ''), step
