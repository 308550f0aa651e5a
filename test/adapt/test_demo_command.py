# SPDX-License-Identifier: Apache-2.0
"""`xvla adapt --demo`, at toy size: it records, learns to reach, then to lift, and goes on."""

import numpy as np
import pytest

from xvla_ros.adapt.demo.demo_policy import DemoTraining
from xvla_ros.adapt.lift import rollouts
from xvla_ros.model.loading import load_policy
from xvla_ros.tools.cli import main

SIZE = [
    *('--embodiment', 'widowx', '--scenes', '6', '--lift', '2', '--tower-steps', '1'),
    *('--grounding-steps', '1', '--policy-steps', '1', '--lift-steps', '2', '--dtype', 'float32'),
]


@pytest.fixture(scope='module', autouse=True)
def short_demonstrations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollouts, 'LIMIT_S', 0.5)
        yield


@pytest.fixture(scope='module')
def samples(tmp_path_factory):
    return tmp_path_factory.mktemp('samples')


@pytest.fixture(scope='module')
def trained(samples):
    out = samples.parent / 'trained' / 'policy'
    assert main(['adapt', '--demo', *SIZE, '--samples', str(samples), '--out', str(out)]) == 0
    return out


def test_one_command_reaches_then_lifts(trained):
    image, pose = np.zeros((96, 96, 3), np.uint8), np.zeros(20, np.float32)
    ask = ([image] * 2, pose, 'pick up the red block', 1)
    noise = np.zeros((30, 20), np.float32)
    reaching, lifting = (
        load_policy(folder).predict(*ask, steps=1, noise=noise)
        for folder in (trained.with_name('policy-reach'), trained)
    )
    assert np.isfinite(lifting).all()
    assert not np.array_equal(reaching, lifting)


def test_a_run_that_goes_on_does_not_learn_to_reach_again(trained, samples, monkeypatch, capsys):
    def fail(self, resume):
        raise AssertionError('the policy that reaches is there')

    monkeypatch.setattr(DemoTraining, 'run', fail)
    capsys.readouterr()
    options = [*SIZE, '--samples', str(samples), '--out', str(trained)]
    assert main(['adapt', '--demo', *options, '--resume']) == 0
    assert f'xvla evaluate --lift --checkpoint {trained} --embodiment widowx' in (
        capsys.readouterr().out
    )


def test_a_named_checkpoint_is_taught_to_lift(samples, tmp_path):
    options = [*SIZE, '--samples', str(samples), '--out', str(tmp_path / 'policy')]
    assert main(['adapt', '--demo', *options, '--checkpoint', 'demo_policy']) == 0
    assert (tmp_path / 'policy' / 'config.json').exists()
    assert not (tmp_path / 'policy-reach').exists()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--steps', '5', '--lora', '4'], '--steps, --lora does not apply'),
        (['--rows'], '--rows does not apply'),
        (['--resume'], 'no state to go on from'),
        (['--lift-steps', '-1'], "'-1': expected a whole number, 0 or more"),
    ],
)
def test_what_the_demo_policy_does_not_take_is_refused(options, words, samples, tmp_path, capsys):
    place = ['--samples', str(samples), '--out', str(tmp_path / 'policy')]
    try:
        code = main(['adapt', '--demo', *SIZE, *place, *options])
    except SystemExit as error:  # argparse
        code = error.code
    assert code == 2
    assert words in capsys.readouterr().err
