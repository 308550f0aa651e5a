# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/teach.md run, at a small size, and what they leave can be used."""

import json
from pathlib import Path
import re
import shlex

import pytest
import torch

from xvla_ros.adapt.trainer.progress import training_folder
from xvla_ros.model.loading import load_policy
from xvla_ros.tools.cli import main

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    '--simulated': '4',
    '--frozen-steps': '2',
    '--steps': '1',
    '--check': '3',
    '--episodes': '1',
    '--batch': '4',
}


def commands():
    """Return the commands of the page's first block."""
    block = re.search(r'```\n(xvla adapt.*?)```', (ROOT / 'docs' / 'teach.md').read_text(), re.S)
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def small(command, folder):
    """Return a command with small counts, that writes into a folder."""
    words = [w.replace('out/', f'{folder}/') if w.startswith('out/') else w for w in command]
    for option, value in SMALL.items():
        if option in words:
            words[words.index(option) + 1] = value
    extra = {
        'adapt': ['--batch', '4', '--lerobot'],
        'evaluate': ['--json', f'{folder}/{len(words)}.json'],
    }[words[0]]
    return words + extra


def test_the_commands_of_the_page_work(tmp_path, capsys):
    torch.set_num_threads(1)
    found = commands()
    assert len(found) == 4
    for command in found:
        assert main(small(command, tmp_path)) == 0
    told = capsys.readouterr().out
    assert 'row 3 starts as a copy of row' in told
    assert "expected memory in stage 'all'" in told
    assert 'samples' in told
    assert 'with 95 % confidence' in told
    assert (tmp_path / 'ur5e_anchors.png').exists()
    policy = load_policy(tmp_path / 'ur5e')
    assert policy.trained_domains == (0, 1, 2, 3)
    metrics = json.loads((training_folder(tmp_path / 'ur5e') / 'metrics.json').read_text())
    assert metrics['other_rows_unchanged']
    check_lerobot(tmp_path / 'ur5e-lerobot')


def check_lerobot(folder):
    """Without these steps and this row, LeRobot serves something else."""
    before = json.loads((folder / 'policy_preprocessor.json').read_text())
    steps = {step['registry_name']: step['config'] for step in before['steps']}
    assert steps['xvla_add_domain_id'] == {'domain_id': 3}
    assert {'xvla_image_to_float', 'xvla_imagenet_normalize', 'tokenizer_processor'} <= set(steps)
    assert (folder / 'policy_postprocessor.json').exists()
    assert json.loads((folder / 'config.json').read_text())['type'] == 'xvla'


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], 'expected either --demo, or demonstrations'),
        (['--simulated', '2', '--source', 'bag'], 'expected one of them'),
        (['--simulated', '2', '--embodiment', 'ur5e'], '--checkpoint is missing'),
        (['--simulated', '2', '--checkpoint', 'demo_policy'], '0 embodiments are named'),
        (
            ['--simulated', '2', '--checkpoint', 'demo_policy', '--embodiment', 'ur5e'],
            '--row is 12, expected a row of the checkpoint, 0 to 3',
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(arguments, words, capsys):
    assert main(['adapt', *arguments]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert words in line
