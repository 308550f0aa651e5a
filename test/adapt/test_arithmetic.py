# SPDX-License-Identifier: Apache-2.0
"""Training computes in the faster arithmetic and keeps its weights in float32 in both."""

import re

import pytest
import torch

from xvla_ros.adapt.demo.small_network import demo_config
from xvla_ros.adapt.trainer import arithmetic
from xvla_ros.adapt.trainer.arithmetic import (
    ALL,
    DTYPES,
    invented_batch,
    step_times,
    training_dtype,
)
from xvla_ros.adapt.trainer.objective import policy_losses, Student
from xvla_ros.adapt.trainer.optimisation import Descent, Optimiser, parameters_of
from xvla_ros.model.measured import Measurement
from xvla_ros.model.xvla import build_network
from xvla_ros.tools.cli import main


@pytest.mark.parametrize('dtype', DTYPES.values(), ids=DTYPES)
def test_weights_gradients_and_optimiser_stay_in_float32(dtype):
    student = Student(network=build_network(demo_config(), attention='eager'), dtype=dtype)
    optimiser = Optimiser(parameters_of(student.network), Descent())
    optimiser.enter(ALL)
    losses = policy_losses(student, invented_batch(2), torch.Generator().manual_seed(0))
    torch.stack(list(losses.values())).sum().backward()
    for parameter in student.network.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None or parameter.grad.dtype == torch.float32
    optimiser.step(ALL, 0)
    states = [t for state in optimiser.adam.state.values() for t in state.values()]
    assert states
    assert all(t.dtype == torch.float32 for t in states if torch.is_tensor(t))
    with student.arithmetic():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize(
    ('seconds', 'expected'),
    [
        ({'float32': 1.0, 'bfloat16': 0.5}, torch.bfloat16),
        ({'float32': 1.0, 'bfloat16': 0.95}, torch.float32),
        ({'float32': 1.0, 'bfloat16': 9.0}, torch.float32),
    ],
)
def test_bfloat16_is_taken_where_it_is_clearly_faster(seconds, expected, monkeypatch):
    answer = Measurement(seconds=seconds, file=None)
    monkeypatch.setattr(arithmetic, 'measured', lambda question: answer)
    assert training_dtype('auto') == expected
    assert training_dtype('bfloat16') == torch.bfloat16
    assert training_dtype('float32') == torch.float32


def test_adapt_says_what_it_computes_in_and_why(capsys, monkeypatch):
    done = []
    place = 'xvla_ros.adapt.demo.demo_policy.'
    monkeypatch.setattr(f'{place}record_all', lambda *_: done.append('record'))
    monkeypatch.setattr(
        f'{place}DemoTraining.__init__', lambda self, samples, job: done.append(job.dtype)
    )
    monkeypatch.setattr(f'{place}DemoTraining.run', lambda self, resume: None)
    assert main(['adapt', '--demo', '--embodiment', 'franka', '--lift', '0']) == 0
    assert done == ['record', training_dtype()]
    line = capsys.readouterr().out.splitlines()[0]
    assert re.match(
        r'training in (float32|bfloat16): per sample \w+ [\d.]+ ms, \w+ [\d.]+ ms', line
    )
    assert set(step_times().seconds) == set(DTYPES)
