# SPDX-License-Identifier: Apache-2.0
"""A robot is adapted in two real steps; a stopped run goes on exactly; other rows stay."""

import copy
from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import socket
import subprocess
import sys

from counts import FULL
from demonstrations import demonstrations, FREE, losses, robot, TRAINED, write_checkpoint
import numpy as np
import pytest
import torch

from xvla_ros.adapt.job import Adaptation
from xvla_ros.adapt.options import Options
from xvla_ros.adapt.rows import candidates, fingerprints, retrieve, trained_rows
from xvla_ros.adapt.trainer.forward import act, encode
from xvla_ros.adapt.trainer.optimisation import parameters_of
from xvla_ros.adapt.trainer.progress import training_folder
from xvla_ros.adapt.trainer.stages import two_steps
from xvla_ros.core.errors import CheckpointError, ConfigError
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.loading import load_policy

ROOT = Path(__file__).resolve().parents[2]
FROZEN, ALL = 3, 4
PLAN = two_steps(frozen_steps=FROZEN, steps=ALL, rate=1e-3, warmup=2)


@pytest.fixture
def options(checkpoint, tmp_path):
    return Options(
        checkpoint=checkpoint, out=tmp_path / 'policy', plan=PLAN, row=FREE, from_row=1, batch=4,
        check=2, samples=8, denoising=2,
    )  # fmt: skip


def adaptation(options, episodes=None):
    made = Adaptation(episodes or demonstrations(), robot(), options)
    made.prepare()
    return made


def test_it_trains_writes_the_best_and_says_how_good_it_is(options):
    told = []
    metrics = adaptation(options).run(told.append)
    assert len(losses(options.out)) == FROZEN + ALL
    assert metrics['other_rows_unchanged']
    assert 0 < metrics['steps'] <= FROZEN + ALL
    held_out = metrics['held_out']
    assert set(held_out['tasks']) == {'pick up the blue block', 'pick up the red block'}
    assert len(held_out['anchors']['position_mm']) == 6
    assert any('kept' in line for line in told)
    assert (training_folder(options.out) / 'summary.png').stat().st_size > 10_000
    policy = load_policy(options.out)
    assert policy.trained_domains == (*TRAINED, FREE)


def test_the_first_step_trains_rows_alone_and_the_second_all(options):
    made = adaptation(options)
    network = made.student.network
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    parts = parameters_of(network)

    def moved():
        return {
            part
            for part, named in parts.items()
            if any(not torch.equal(p, before[n]) for n, p in named.items())
        }

    made.data.shrink(options.out.with_suffix('.npy'))
    for _ in range(FROZEN):
        made.trainer.step()
        assert {p for p, named in parts.items() if any(x.requires_grad for x in named.values())}
        assert moved() == {'prompts', 'heads'}
    assert not any(p.requires_grad for p in parts['core'].values())
    made.trainer.step()
    assert moved() == {'prompts', 'heads', 'core', 'vlm'}


def test_no_other_row_moves_by_a_bit(options, checkpoint):
    made = adaptation(options)
    base = fingerprints(made.student.network)
    assert base[FREE] == base[1], 'the row begins as a copy'
    made.run(lambda line: None)
    after = fingerprints(made.student.network)
    assert [one == other for one, other in zip(base, after, strict=True)] == [True, True, False]


def test_a_run_stopped_at_any_step_goes_on_with_the_same_losses(options):
    """Also across the step at which core and VLM join, the encoder's outputs cached before."""
    whole, states = adaptation(options).trainer, []
    expected = []
    for _ in range(FROZEN + ALL):
        expected.append(whole.step().losses)
        states.append(copy.deepcopy(whole.state()))
    for done, state in enumerate(states[:-1], 1):
        again = adaptation(options).trainer
        again.restore(state)
        left = [again.step().losses for _ in range(FROZEN + ALL - done)]
        assert left == expected[done:], f'stopped after step {done}'


class Killed(Exception):
    pass


def test_a_killed_run_is_taken_up_from_its_files(options, monkeypatch):
    adaptation(replace(options, out=options.out.with_name('whole'))).run(lambda line: None)
    whole = losses(options.out.with_name('whole'))

    def kill(step):
        if step.number == 5:
            raise Killed

    made = adaptation(options)
    after = made._after
    monkeypatch.setattr(made, '_after', lambda step, *more: (after(step, *more), kill(step)))
    with pytest.raises(Killed):
        made.run(lambda line: None)
    assert sorted(losses(options.out)) == [1, 2, 3, 4, 5]
    adaptation(options).run(lambda line: None, resume=True)  # from step 4, the last check
    assert losses(options.out) == whole


def test_a_state_of_another_run_is_refused(options):
    adaptation(options).run(lambda line: None)
    other = adaptation(replace(options, seed=5))
    with pytest.raises(ConfigError, match='is of a run with seed 0, this one has 5'):
        other.run(lambda line: None, resume=True)
    with pytest.raises(ConfigError, match='no state to go on from'):
        adaptation(replace(options, out=options.out / 'new')).run(lambda line: None, resume=True)


def test_the_row_that_made_the_data_is_found(options):
    """Actions that row 1 predicts are predicted best by row 1, and only trained rows count."""
    made = adaptation(replace(options, from_row=None))
    network = made.student.network
    assert trained_rows(network) == TRAINED
    with torch.no_grad():
        network.transformer.action_decoder.bias.weight[0] += 0.5
        network.transformer.action_decoder.bias.weight[1, :3] = torch.tensor([0.45, 0.0, 0.2])
    found = retrieve(made.student, made.data, TRAINED, seed=0)
    assert [candidate.row for candidate in found] == [1, 0]
    assert found[0].errors.score < found[1].errors.score
    assert {candidate.row for candidate in candidates(network, TRAINED)} == set(TRAINED)


def test_a_row_that_changes_beside_the_trained_one_stops_the_run(options):
    made = adaptation(options)
    with torch.no_grad():
        made.student.network.transformer.soft_prompt_hub.weight[0, 0] += 1e-6
    with pytest.raises(CheckpointError, match=r'rows \[0\] have changed while row 2'):
        made.run(lambda line: None)
    assert not options.out.exists()


def test_low_rank_updates_are_merged_and_leave_the_base_as_it_was(options):
    plan = two_steps(frozen_steps=1, steps=3, rate=1e-2, warmup=1, lora=True)
    made = adaptation(replace(options, plan=plan, lora=2, check=4))
    network = made.student.network
    base = {n: p.detach().clone() for n, p in network.named_parameters() if 'base_layer' in n}
    assert len(base) > 20
    made.run(lambda line: None)
    assert all(torch.equal(p, base[n]) for n, p in network.named_parameters() if n in base)
    written = load_network(options.out, network.config, torch.float32).state_dict()
    name = 'transformer.blocks.0.attn.proj.weight'
    assert not torch.equal(written[name], base[name.replace('.weight', '.base_layer.weight')])
    batch = made.data.batch(np.arange(3), FREE)
    noise, t = torch.zeros(3, 6, 20), torch.ones(3)
    fresh = load_network(options.out, network.config, torch.float32)
    with torch.no_grad():
        network.eval()
        ours, theirs = (act(n, batch, *encode(n, batch), noise, t) for n in (network, fresh))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_checkpointing_changes_no_loss(options):
    usual = adaptation(options).trainer
    frugal = adaptation(replace(options, checkpointing=True)).trainer
    for _ in range(FROZEN + 2):
        assert frugal.step().losses == pytest.approx(usual.step().losses, rel=1e-5)


PROCESS = """
import json, sys
sys.path[:0] = ['test/support']
from pathlib import Path
from counts import FULL
from demonstrations import demonstrations, robot
from xvla_ros.adapt.job import Adaptation
from xvla_ros.adapt.options import Options
from xvla_ros.adapt.processes import processes_of
from xvla_ros.adapt.rows import fingerprints
from xvla_ros.adapt.trainer.stages import two_steps
checkpoint, out, batch = sys.argv[1:]
plan = two_steps(frozen_steps=3, steps=2, rate=1e-3, warmup=1)
options = Options(checkpoint=Path(checkpoint), out=Path(out), plan=plan, row=2, from_row=1,
                  batch=int(batch), jitter=False)
made = Adaptation(demonstrations(), robot(), options, processes_of('cpu'))
made.prepare()
losses = [made.trainer.step().loss for _ in range(5)]
print(json.dumps([losses, fingerprints(made.student.network)[2]]))
"""


def together(count, *arguments):
    """Run so many processes as `accelerate launch` starts them; return what each says."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    world = {'WORLD_SIZE': str(count), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
    world |= {'OMP_NUM_THREADS': '1', 'ACCELERATE_USE_CPU': 'true'}
    started = [
        subprocess.Popen(
            [sys.executable, '-c', PROCESS, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | world | {'RANK': str(rank), 'LOCAL_RANK': str(rank)},
        )
        for rank in range(count)
    ]
    return [json.loads(p.communicate(timeout=250)[0].splitlines()[-1]) for p in started]


@pytest.mark.skipif(not FULL, reason='starts three interpreters; XVLA_TEST_FULL=1 runs it')
def test_two_processes_take_the_steps_of_one(tmp_path):
    """Each has half of every batch and of the noise, and steps along the mean gradient."""
    ours = {'text_length': 8, 'head_dropout': 0.0}
    folder = write_checkpoint(tmp_path / 'base', xvla_ros=ours)
    ((alone, _),) = together(1, folder, tmp_path / 'alone', 4)
    (one, row), (two, other) = together(2, folder, tmp_path / 'pair', 2)
    assert (one, row) == (two, other)
    # While the encoder is frozen there is no dropout, which differs between processes.
    assert one[:FROZEN] == pytest.approx(alone[:FROZEN], rel=1e-4)


def test_room_is_made_for_another_camera(options, tmp_path):
    """A checkpoint of one camera learns with two; one with too few positions cannot."""
    ours = {'text_length': 8, 'view_slots': 1}
    base = write_checkpoint(tmp_path / 'base', xvla_ros=ours)
    adaptation(replace(options, checkpoint=base, silence=True)).run(lambda line: None)
    assert load_policy(options.out).config.view_slots == 2
    short = write_checkpoint(tmp_path / 'short', xvla_ros=ours, max_len_seq=50)
    with pytest.raises(ConfigError, match='at most 1 cameras'):
        adaptation(replace(options, checkpoint=short))


def test_images_are_prepared_as_in_serving(options, checkpoint):
    made, policy = adaptation(options), load_policy(checkpoint)
    episode = made.data.episodes[made.data.episode[5]]
    served = policy.images(episode.look(int(made.data.frame[5])))
    assert torch.equal(made.data.batch(np.array([5]), FREE).pixels, served)
    made.data.shrink(options.out.with_suffix('.npy'))
    assert torch.equal(made.data.batch(np.array([5]), FREE).pixels, served)


def test_a_checkpoint_with_statistics_is_refused(options, tmp_path):
    """Training leaves numbers as they are; such a network would learn in the wrong units."""
    base = write_checkpoint(tmp_path / 'base')
    for file in (ROOT / 'test/model/data/lerobot/mean_std').glob('policy_preprocessor*'):
        shutil.copy(file, base / file.name)
    config = json.loads((base / 'config.json').read_text())
    config['normalization_mapping'] = {'STATE': 'MEAN_STD'}
    (base / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r'normalises states \(MEAN_STD\)'):
        adaptation(replace(options, checkpoint=base))
