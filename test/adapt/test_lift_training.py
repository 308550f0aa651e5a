# SPDX-License-Identifier: Apache-2.0
"""Several robots are taught at once: rows, resume, and what is written. At toy size."""

from dataclasses import replace

from demonstrations import losses
import numpy as np
import pytest
import torch

from xvla_ros.adapt.lift import rollouts
from xvla_ros.adapt.lift.recording import Demonstrations
from xvla_ros.adapt.lift.training import LiftTraining, Robot, rows_of
from xvla_ros.adapt.options import Options
from xvla_ros.adapt.trainer.stages import two_steps
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.model.loading import load_policy

NAMES = ('franka', 'widowx')


@pytest.fixture(scope='module')
def robots(tmp_path_factory):
    torch.set_num_threads(1)
    folder, made = tmp_path_factory.mktemp('demonstrations'), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollouts, 'LIMIT_S', 1.0)
        for name in NAMES:
            file = shared_file('config', f'{name}_sim.yaml')
            kept = Demonstrations(folder=folder, count=4)
            made.append(Robot(embodiment=load_embodiment(file), episodes=kept.episodes(file)))
    return made


def training(robots, out, frozen=2, steps=4):
    plan = two_steps(frozen_steps=frozen, steps=steps, rate=1e-3, scale=1.0, warmup=1)
    options = Options(
        checkpoint='demo_policy', out=out, plan=plan, row=0, batch=6, check=3, samples=4,
        denoising=1, mean=0.5,
    )  # fmt: skip
    return LiftTraining(robots, options)


@pytest.fixture(scope='module')
def trained(robots, tmp_path_factory):
    out, said = tmp_path_factory.mktemp('run') / 'policy', []
    job = training(robots, out)
    metrics = job.run(said.append)
    return out, metrics, said


def test_every_robot_is_measured_and_the_best_is_written(trained):
    out, metrics, said = trained
    assert set(metrics['held_out']) == set(NAMES)
    assert metrics['steps'] in (3, 6)
    assert sum('kept' in line for line in said) % len(NAMES) == 0
    policy = load_policy(out)
    image, pose = np.zeros((224, 224, 3), np.uint8), np.zeros(20, np.float32)
    chunk = policy.predict([image] * 2, pose, 'pick up the red block', domain_id=1, steps=1)
    assert np.isfinite(chunk).all()
    size = sum(file.stat().st_size for file in out.iterdir())
    assert size < 8e6


def test_rows_of_the_robots_move_and_others_stay(robots, tmp_path):
    job = training(robots, tmp_path / 'policy')
    hub = job.student.network.transformer.soft_prompt_hub.weight
    before = hub.detach().clone()
    job.trainer.step()
    changed = (hub != before).any(dim=1).tolist()
    assert changed == [True, True, False, False]


def test_a_batch_has_the_same_share_of_every_robot(robots, tmp_path):
    job = training(robots, tmp_path / 'policy')
    batch = job.trainer.source.draw(0)
    assert batch.domain.tolist() == [0] * 3 + [1] * 3
    assert len(batch.pixels) == 12


def test_a_run_that_was_stopped_goes_on_with_the_same_losses(robots, trained, tmp_path):
    whole, out = losses(trained[0]), tmp_path / 'policy'

    class Stopped(Exception):
        pass

    job = training(robots, out)
    after = job._after

    def stopping(step, progress, report):
        after(step, progress, report)
        if step.number == 4:
            raise Stopped

    job._after = stopping
    with pytest.raises(Stopped):
        job.run(lambda line: None)
    training(robots, out).run(lambda line: None, resume=True)
    assert losses(out) == whole


def test_two_robots_of_one_row_are_refused(robots):
    first = robots[0].embodiment
    twin = replace(first, robot='twin')
    with pytest.raises(ConfigError, match='each robot must be another one'):
        rows_of([robots[0], Robot(embodiment=twin, episodes=robots[0].episodes)])
