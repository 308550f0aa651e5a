# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of tool poses learns a robot's joints, and is served like one of LeRobot."""

from dataclasses import replace
import json

from demonstrations import demonstration, FRAMES, losses, robot, TASKS
import numpy as np
import pytest
import torch

from xvla_ros.adapt.demo.joint_demonstrations import PlanEpisodes
from xvla_ros.adapt.demo.joint_recording import JointRecorder
from xvla_ros.adapt.demo.recording import recorded, SamplePlan
from xvla_ros.adapt.demo.small_network import COLOURS
from xvla_ros.adapt.job import Adaptation
from xvla_ros.adapt.joints.windows import JointWindowMaker
from xvla_ros.adapt.judging import ask, padded
from xvla_ros.adapt.options import Options
from xvla_ros.adapt.split import split
from xvla_ros.adapt.trainer.stages import two_steps
from xvla_ros.core.errors import CheckpointError, ConfigError
from xvla_ros.data.errors import DataError
from xvla_ros.model.loading import load_policy
from xvla_ros.runtime.predictor import check_fit, facts_of

ROW = 2
# An opening of 1 in the units of the shipped tables.
OPEN = 100.0


@pytest.fixture
def options(checkpoint, tmp_path):
    plan = two_steps(frozen_steps=3, steps=2, rate=1e-3, warmup=2, early_core=True)
    return Options(
        checkpoint=checkpoint, out=tmp_path / 'policy', plan=plan, row=ROW, batch=4, check=2,
        samples=6, denoising=2,
    )  # fmt: skip


def in_joints(embodiment, number):
    """Return an episode in which every joint goes its own way and the grippers stay open."""
    homes = np.concatenate([arm.home_rad for arm in embodiment.arms.values()])
    ends = homes + np.random.default_rng(number).uniform(-0.5, 0.5, len(homes))
    share = np.linspace(0, 1, FRAMES)[:, None]
    base = demonstration(number, arms=len(embodiment.arms))
    return replace(
        base,
        joints=(1 - share) * homes + share * ends,
        joint_names=tuple(f'joint {n}' for n in range(len(homes))),
        openings=np.ones_like(base.openings),
    )


def adaptation(options, name='so101_sim', episodes=None):
    embodiment = robot(name)
    made = Adaptation(
        episodes or [in_joints(embodiment, n) for n in range(6)], embodiment, options
    )
    made.prepare()
    return made


@pytest.mark.parametrize(('name', 'width'), [('so101_sim', 6), ('so101_pair_sim', 12)])
def test_what_is_written_is_served_as_it_was_trained(name, width, options):
    made = adaptation(options, name)
    metrics = made.run(lambda line: None)
    assert 0 < metrics['steps'] <= 5
    assert len(metrics['held_out']['joints']) == width - width // 6
    policy, data = load_policy(options.out), made.held_out
    assert policy.config.first_anchor_index == 0
    embodiment = made.embodiment
    served = replace(embodiment, policy=replace(embodiment.policy, domain_id=ROW))
    check_fit(served, facts_of(policy))
    question = ask(policy, data, 0, ROW)
    answer = policy.predict(
        question.images, question.proprio, TASKS[0], ROW, steps=2, noise=question.noise
    )
    assert answer.shape == (made.preparation.anchors, width)
    assert np.abs(answer[:, 5] - OPEN).max() < OPEN / 4, 'a gripper that never moved stays open'
    stored = json.loads((options.out / 'config.json').read_text())
    assert stored['normalization_mapping']['ACTION'] == 'MEAN_STD'
    assert stored['output_features']['action']['shape'] == [width]


def test_the_network_sees_numbers_of_unit_variance(options):
    data = adaptation(options).data
    batch = data.batch(np.arange(len(data)), ROW)
    joints = batch.actions[..., :5].flatten(0, 1)
    assert torch.allclose(joints.mean(dim=0), torch.zeros(5), atol=1e-3)
    assert torch.allclose(joints.std(dim=0), torch.ones(5), atol=1e-2)
    assert batch.proprio.shape[1] == 20
    assert not batch.proprio[:, 6:].any()
    # One per cent of a gripper's way is half of the least spread, whatever the data's was.
    moved = data.normalisation.of_state(data.proprio[0] + np.float32(OPEN / 100))
    assert moved[5] == pytest.approx(0.5, abs=0.01)


def test_the_first_action_is_due_with_the_image(options):
    made = adaptation(options)
    assert np.allclose(made.data.actions[:, 0], made.data.proprio)
    joints = made.data.episodes[0].joints
    frame = int(made.data.frame[0])
    later = frame + 3
    assert np.allclose(made.data.actions[0, 3, :5], np.degrees(joints[later]), atol=1e-3)


def test_a_stopped_run_goes_on_with_the_same_losses(options, tmp_path):
    whole = replace(options, out=tmp_path / 'whole')
    adaptation(whole).run(lambda line: None)

    def stop(line):
        if line.startswith('  4 steps'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adaptation(options).run(stop)
    adaptation(options).run(lambda line: None, resume=True)
    assert losses(options.out) == pytest.approx(losses(whole.out), rel=1e-6)


def test_a_checkpoint_of_joints_keeps_its_statistics(options, tmp_path):
    first = adaptation(options)
    first.run(lambda line: None)
    further = replace(options, checkpoint=options.out, out=tmp_path / 'further')
    others = [in_joints(robot('so101_sim'), n) for n in range(10, 16)]
    made = adaptation(further, episodes=others)
    assert not made.new_space
    made.run(lambda line: None)
    files = sorted(f.name for f in options.out.glob('policy_*'))
    assert len(files) == 4
    for name in files:
        assert (further.out / name).read_bytes() == (options.out / name).read_bytes()
    assert load_policy(further.out).trained_domains == (ROW,)


def test_errors_are_in_degrees_and_of_the_grippers_way():
    maker = JointWindowMaker(robot('so101_sim'), 6)
    done = np.zeros((2, 6, 6), np.float32)
    off = done + np.array([3, 3, 3, 3, 3, 10], np.float32)
    errors = maker.compare(off, done, np.zeros(2, np.intp), ('all',))
    assert errors.summary()['joint_deg'] == pytest.approx(3.0, abs=1e-4)
    assert errors.summary()['gripper_percent'] == pytest.approx(10.0, abs=1e-4)
    assert errors.score == pytest.approx(13.0, abs=1e-3)


def test_what_does_not_fit_is_refused(options, tmp_path):
    with pytest.raises(DataError, match="has no joints, embodiment 'so101' is driven in joint"):
        adaptation(options, episodes=[demonstration(n) for n in range(3)])
    pair = [in_joints(robot('so101_pair_sim'), n) for n in range(3)]
    with pytest.raises(DataError, match='has 2 arms and 10 joints'):
        adaptation(options, episodes=pair)
    with pytest.raises(ConfigError, match='--row is 9, expected a row of the checkpoint'):
        adaptation(replace(options, row=9))
    one = robot('so101_sim')
    wide = replace(one, policy=replace(one.policy, action_mode='so101_bimanual'))
    with pytest.raises(CheckpointError, match=r"'so101_bimanual' has 12 numbers, .* have 6"):
        Adaptation([in_joints(one, n) for n in range(3)], wide, options)
    adaptation(options).run(lambda line: None)
    poses = replace(options, checkpoint=options.out, out=tmp_path / 'poses', row=0)
    with pytest.raises(ConfigError, match="action_mode is 'auto', but the robot is driven by"):
        Adaptation([demonstration(n) for n in range(3)], robot(), poses)


@pytest.mark.parametrize('name', ['so101_sim', 'so101_pair_sim'])
def test_the_experts_joints_lead_above_each_block(name, tmp_path):
    embodiment = robot(name)
    plan = SamplePlan(scenes=2, states=2, purpose=1, seed=3)
    samples = recorded(JointRecorder, embodiment, tmp_path, plan)
    episodes = list(PlanEpisodes(embodiment, samples, 3))
    assert len(episodes) == len(samples) * len(COLOURS)
    assert {e.name for e in episodes} == {'scene 3/0', 'scene 3/1'}
    bases = np.array([a.base_position_m for a in embodiment.sim.arms.values()])
    for number, episode in enumerate(episodes):
        block = samples.blocks[number // len(COLOURS), number % len(COLOURS)]
        apart = episode.positions[-1] + bases - block  # the arms' bases are not turned
        assert np.hypot(*apart[:, :2].T).min() < 0.01
    train, held_out = split(episodes, 0.1, 0)
    assert not {e.name for e in train} & {e.name for e in held_out}


def test_zeros_fill_a_state():
    assert padded(np.ones((2, 3), np.float32), 5).tolist() == [[1, 1, 1, 0, 0]] * 2
