# SPDX-License-Identifier: Apache-2.0
"""The faster way is measured once per processor, remembered, and chosen only when clearly so."""

import json
import os
from pathlib import Path
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as st
import pytest
import torch

from xvla_ros.model import measured as module
from xvla_ros.model.measured import cache_folder, fastest, MARGIN, measured, Question

ROOT = Path(__file__).resolve().parents[2]
WAYS = ('slow', 'quick')
# These make torch use kernels for the oldest processors.
SLOW_KERNELS = {'ATEN_CPU_CAPABILITY': 'default', 'DNNL_MAX_CPU_ISA': 'SSE41'}


class Counted:
    """Two ways, one of them slow; `calls` are counted by way."""

    def __init__(self):
        self.calls = dict.fromkeys(WAYS, 0)

    def prepare(self):
        def way(name, seconds):
            def run(size):
                self.calls[name] += 1
                time.sleep(seconds * size)

            return run

        return {'slow': way('slow', 0.02), 'quick': way('quick', 0.001)}

    def question(self):
        return Question(name='test', ways=WAYS, prepare=self.prepare)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(module, '_kept', {})
    return tmp_path / 'xvla_ros'


def forget(monkeypatch):
    """Be another process, as far as memory goes."""
    monkeypatch.setattr(module, '_kept', {})


def test_what_was_measured_is_read_by_the_next_process(folder, monkeypatch):
    first, second = Counted(), Counted()
    answer = measured(first.question())
    forget(monkeypatch)
    assert measured(second.question()) == answer
    assert fastest(answer.seconds, WAYS) == 'quick'
    assert answer.file.parent == folder
    assert not any(second.calls.values())


def test_a_way_that_is_far_too_slow_is_called_twice_and_no_more():
    counted = Counted()
    measured(counted.question())
    assert counted.calls['slow'] == 2  # once to make its kernels, once for the time
    assert counted.calls['quick'] >= module.LEAST_ROUNDS


@pytest.mark.parametrize(
    'text',
    [
        b'',
        b'{"seconds": {"slow": 1',
        b'[]',
        b'{"seconds": [1, 2]}',
        b'{"seconds": {"slow": 1.0}}',
        b'{"seconds": {"slow": 1.0, "quick": NaN}}',
        b'{"seconds": {"slow": 1.0, "quick": -1.0}}',
        b'{"seconds": {"slow": 1.0, "quick": null}}',
        b'\xff\xfe\x00',
    ],
)
def test_a_broken_file_is_measured_and_written_again(text, monkeypatch):
    file = measured(Counted().question()).file
    file.write_bytes(text)
    forget(monkeypatch)
    counted = Counted()
    answer = measured(counted.question())
    assert all(counted.calls.values())
    assert json.loads(file.read_text())['seconds'] == answer.seconds
    assert [path.suffix for path in sorted(file.parent.iterdir())] == ['.json', '.lock']


def test_without_a_folder_that_can_be_written_a_process_measures_once(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/proc/nowhere')
    first, second = Counted(), Counted()
    answer = measured(first.question())
    assert answer.file is None
    assert measured(second.question()) == answer
    assert not any(second.calls.values())


def test_a_user_without_a_home_is_no_trouble(monkeypatch):
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr(Path, 'home', lambda: (_ for _ in ()).throw(RuntimeError('none')))
    assert measured(Counted().question()).file is None


@pytest.mark.parametrize('value', ['', 'relative/folder'])
def test_a_cache_folder_that_is_not_absolute_is_passed_over(value, monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', value)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert cache_folder() == tmp_path / '.cache' / 'xvla_ros'


@pytest.mark.parametrize('variable', ['ATEN_CPU_CAPABILITY', 'DNNL_MAX_CPU_ISA'])
def test_other_kernels_are_another_measurement(variable, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    before = measured(Counted().question()).file
    monkeypatch.setenv(variable, 'AVX2')
    counted = Counted()
    assert measured(counted.question()).file != before
    assert all(counted.calls.values())


def test_another_torch_is_another_measurement(monkeypatch):
    before = module.processor_key()
    monkeypatch.setattr(torch, '__version__', '2.0.0')
    assert module.processor_key() != before


def test_threads_and_random_numbers_of_others_are_left_alone():
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    def prepare():
        assert torch.get_num_threads() == 1
        return {way: lambda size: torch.rand(100 * size) for way in WAYS}

    measured(Question(name='random', ways=WAYS, prepare=prepare))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


ASK = """
import sys, time
from xvla_ros.model.measured import measured, Question
log = open(sys.argv[1], 'a', buffering=1)
def prepare():
    log.write('measured\\n')
    return {'a': lambda size: time.sleep(0.001), 'b': lambda size: time.sleep(0.002)}
print(measured(Question(name='shared', ways=('a', 'b'), prepare=prepare)).seconds)
"""


def test_processes_that_ask_at_once_measure_once_and_agree(tmp_path):
    log = tmp_path / 'log'
    command = [sys.executable, '-c', ASK, str(log)]
    asking = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = {process.communicate(timeout=200)[0] for process in asking}
    assert [process.returncode for process in asking] == [0, 0, 0]
    assert len(answers) == 1
    assert log.read_text() == 'measured\n'


times = st.floats(1e-9, 1e3)


@given(st.lists(times, min_size=1, max_size=4))
def test_the_usual_way_gives_way_only_to_a_clearly_faster_one(values):
    seconds = {f'way {index}': value for index, value in enumerate(values)}
    ways = (*seconds, 'never measured')
    chosen = fastest(seconds, ways)
    assert seconds[chosen] <= MARGIN * min(values)
    assert (chosen == 'way 0') == (values[0] <= MARGIN * min(values))


CHOICES = """
import json, torch
from xvla_ros.adapt.trainer.arithmetic import step_times, training_dtype
from xvla_ros.model.attention import attention_times, explicit_is_faster
from xvla_ros.model.packing import bfloat16_slower
print(json.dumps({
    'training': str(training_dtype()), 'steps': dict(step_times().seconds),
    'explicit': explicit_is_faster(), 'attention': dict(attention_times().seconds),
    'bfloat16_slower': bfloat16_slower(128),
}))
"""


def choices(**variables):
    """Return what a fresh process chooses with these variables."""
    kept = {k: v for k, v in os.environ.items() if k not in module.VARIABLES}
    result = subprocess.run(
        [sys.executable, '-c', CHOICES],
        cwd=ROOT,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize('variables', [{}, SLOW_KERNELS], ids=['as it is', 'slow kernels'])
def test_choices_follow_the_measurement_whatever_the_processor_can_do(variables):
    """With slow kernels bfloat16 is emulated, also on a processor whose flags name it."""
    found = choices(**variables)
    steps, attention = found['steps'], found['attention']
    faster = steps['float32'] > MARGIN * steps['bfloat16']
    assert found['training'] == ('torch.bfloat16' if faster else 'torch.float32')
    assert found['explicit'] == (attention['explicit'] <= MARGIN * attention['fused'])
    if variables:
        assert found['training'] == 'torch.float32'
        assert not found['explicit']
        assert 'x as long as float32' in found['bfloat16_slower']
