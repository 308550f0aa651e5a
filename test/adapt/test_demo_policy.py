# SPDX-License-Identifier: Apache-2.0
"""The shipped checkpoint: small enough, loads, answers repeatably, lifts on every robot."""

import json
import re

import numpy as np
import pytest
import torch

from xvla_ros.adapt.closed_loop import Conditions, evaluate
from xvla_ros.adapt.demo.demo_policy import CHECKPOINT, demo_embodiments
from xvla_ros.core.resources import shared_file
from xvla_ros.model.loading import load_policy
from xvla_ros.sim.scenes import VALIDATE
from xvla_ros.tools.cli import main

MOST_BYTES = 8_000_000


@pytest.fixture(scope='module')
def policy():
    torch.set_num_threads(1)
    return load_policy(shared_file('resource', CHECKPOINT))


def test_the_checkpoint_is_small_and_complete():
    files = {f.name: f.stat().st_size for f in shared_file('resource', CHECKPOINT).iterdir()}
    assert set(files) == {
        'README.md',
        'config.json',
        'model.safetensors',
        'preprocessor_config.json',
        'tokenizer.json',
    }
    assert sum(files.values()) <= MOST_BYTES


def test_the_same_observation_and_noise_give_the_same_chunk(policy):
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (224, 224, 3), dtype=np.uint8) for _ in range(2)]
    noise = random.standard_normal((30, 20)).astype(np.float32)
    proprio = np.zeros(20, np.float32)
    words = 'pick up the red block'
    one, two = (policy.predict(images, proprio, words, 0, 4, noise=noise) for _ in range(2))
    assert one.shape == (30, 20)
    np.testing.assert_array_equal(one, two)


def test_every_simulated_robot_has_its_own_row(policy):
    domains = [robot.policy.domain_id for robot in demo_embodiments()]
    assert len(set(domains)) == len(domains) >= 3
    assert max(domains) < policy.config.num_domains


@pytest.mark.parametrize('robot', demo_embodiments(), ids=lambda robot: robot.robot)
def test_it_reaches_and_lifts_the_named_block(robot, policy):
    outcomes = evaluate(robot, policy, VALIDATE, 0, range(4), Conditions(lift=True))
    assert sum(outcome.reached for outcome in outcomes) >= 3
    assert sum(outcome.lifted for outcome in outcomes) >= 3


def test_a_robot_is_evaluated_by_its_name(tmp_path, capsys):
    out = tmp_path / 'out.json'
    arguments = ['evaluate', '--embodiment', 'widowx', '--episodes', '1', '--limit', '1']
    assert main([*arguments, '--json', str(out)]) == 0
    assert capsys.readouterr().out.startswith('widowx: ')
    assert [result['robot'] for result in json.loads(out.read_text())] == ['widowx']


@pytest.mark.parametrize(
    ('command', 'name', 'words'),
    [
        ('evaluate', 'no_such_robot', 'expected one of agilex, aloha, franka, .*ur5e, widowx'),
        ('evaluate', 'so101', "its action mode is 'ee6d', not 'auto'"),
        ('adapt', 'so101', "policy.action_mode is 'auto', expected 'ee6d'"),
        (
            'evaluate',
            'ur5e',
            r"was not trained for embodiment 'ur5e'.* is 12, expected one of \[0, 1, 2\]",
        ),
        ('adapt', 'no_such_robot', 'expected one of agilex, aloha, franka, .*ur5e, widowx'),
        ('adapt', 'ur5e', "embodiment 'ur5e': policy.domain_id is 12, .*; 3 is free"),
    ],
)
def test_a_robot_that_cannot_be_taken_is_one_line(command, name, words, capsys):
    options = ['--demo'] if command == 'adapt' else []
    assert main([command, *options, '--embodiment', name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line)
