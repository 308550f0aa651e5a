# SPDX-License-Identifier: Apache-2.0
"""The commands of the pages run on a small bag, and their source file is one."""

from pathlib import Path
import re
import shlex
import shutil

from missing_packages import needs_torch

from xvla_ros.data.source import load_source
from xvla_ros.tools.cli import main

DOCS = Path(__file__).resolve().parents[2] / 'docs'
SMALL = {'--frozen-steps': '2', '--steps': '0', '--check': '2'}
MORE = {'adapt': ['--batch', '4'], 'evaluate': ['--samples', '4'], 'check': []}


def commands(page):
    """Return the commands of the block that begins with a check."""
    block = re.search(r'```\n(xvla check.*?)```', (DOCS / page).read_text(), re.DOTALL)
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def small(words, folder):
    made = [str(folder / w) if w.startswith(('out/', 'recordings')) else w for w in words]
    for option, value in SMALL.items():
        if option in made:
            made[made.index(option) + 1] = value
    return made + MORE[words[0]]


@needs_torch
def test_a_recording_becomes_a_policy_as_the_page_says(bag, tmp_path, capsys):
    shutil.copytree(bag, tmp_path / 'recordings' / 'episode_000')
    found = commands('teach.md')
    assert [words[0] for words in found] == ['check', 'adapt', 'evaluate']
    for words in found:
        assert main(small(words, tmp_path)) == 0
    for name in ('check.html', 'mine', 'mine_anchors.png'):
        assert (tmp_path / 'out' / name).exists()
    assert 'of grippers wrong' in capsys.readouterr().out


def test_the_source_file_of_the_page_is_valid(tmp_path):
    text = re.search(r'```yaml\n(.*?)```', (DOCS / 'data.md').read_text(), re.DOTALL)[1]
    (tmp_path / 'mine.yaml').write_text(text)
    source = load_source(tmp_path / 'mine.yaml')
    assert source.arms['arm'].state.gripper_open == 0.08


def test_descriptions_that_the_page_uses_are_shipped():
    shipped = {file.stem for file in (DOCS.parent / 'config' / 'sources').glob('*.yaml')}
    used = set(re.findall(r'--as (\w+)', (DOCS / 'data.md').read_text()))
    assert used
    assert used <= shipped
