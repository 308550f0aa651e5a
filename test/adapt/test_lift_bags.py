# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of lifting: played with noise, recorded as a bag, read as any bag is."""

from dataclasses import replace

import numpy as np
import pytest

from xvla_ros.adapt.lift import bags, rollouts
from xvla_ros.adapt.lift.recording import Demonstrations
from xvla_ros.adapt.lift.rollouts import ANCHORS, Rollouts
from xvla_ros.adapt.windows import WindowMaker
from xvla_ros.core.ee6d import unpack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.data.errors import DataError
from xvla_ros.sim.scenes import BIMANUAL, sample_scene, TRAIN

SHORT_S = 1.5


@pytest.fixture(scope='module', params=['franka', 'widowx', 'agilex'])
def file(request):
    return shared_file('config', f'{request.param}_sim.yaml')


@pytest.fixture(scope='module')
def recorded(file, tmp_path_factory):
    """Return episodes that were recorded and read, and the frames that they were recorded of."""
    folder, frames = tmp_path_factory.mktemp('bags'), []

    class Kept(Rollouts):
        def play(self, scene):
            for frame in super().play(scene):
                frames.append(frame)
                yield frame

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollouts, 'LIMIT_S', SHORT_S)
        patch.setattr(bags, 'Rollouts', Kept)
        episodes = Demonstrations(folder=folder, count=2).episodes(file)
    return episodes, frames, folder


def test_a_bag_holds_every_frame_of_every_demonstration(recorded, file):
    episodes, frames, _ = recorded
    arms = len(load_embodiment(file).arm_names)
    assert len(episodes) == 2 + (arms == 2)
    assert sum(map(len, episodes)) == len(frames)
    assert all(e.instruction.startswith('pick up the ') for e in episodes)
    read = np.concatenate([episode.positions for episode in episodes])
    np.testing.assert_allclose(read, [[t.position for t in f.tools] for f in frames], atol=1e-9)
    seen = episodes[0].look(3)
    assert len(seen) == len(frames[3].images)
    for image, drawn in zip(seen, frames[3].images, strict=True):
        assert np.abs(image.astype(int) - drawn).mean() < 3.0  # JPEG


def test_samples_are_the_plans_and_not_the_noisy_motion(recorded, file):
    episodes, frames, _ = recorded
    embodiment = load_embodiment(file)
    samples = WindowMaker(embodiment, ANCHORS).windows(episodes[0])
    assert len(samples.frame) == len(episodes[0])
    for index in (0, 5):
        for arm, plan in enumerate(frames[index].plans):
            rows = [
                unpack(a, embodiment.policy.rotation_6d_layout) for a in samples.actions[index]
            ]
            positions = [row[arm].position for row in rows]
            np.testing.assert_allclose(positions, plan.positions, atol=1e-6)
            np.testing.assert_allclose([row[arm].gripper for row in rows], 1 - plan.openings)


def test_the_same_plan_is_recorded_once_and_another_one_anew(recorded, file, monkeypatch):
    _, _, folder = recorded
    kept = Demonstrations(folder=folder, count=2)
    before = (kept.bag(file) / 'metadata.yaml').stat().st_mtime_ns
    assert (kept.bag(file) / 'metadata.yaml').stat().st_mtime_ns == before
    monkeypatch.setattr(rollouts, 'LIMIT_S', 0.1)
    bag = Demonstrations(folder=folder, count=1, seed=7).bag(file)
    assert (bag / 'metadata.yaml').stat().st_mtime_ns > before


def test_plans_of_another_period_are_refused(recorded, file):
    episodes, _, _ = recorded
    embodiment = load_embodiment(file)
    slower = replace(embodiment, policy=replace(embodiment.policy, anchor_period_s=0.2))
    with pytest.raises(DataError, match='anchor_period_s is of another robot'):
        WindowMaker(slower, ANCHORS).windows(episodes[0])


def test_a_frame_without_a_plan_begins_no_sample(recorded, file):
    episode = recorded[0][0]
    grippers = episode.planned.grippers.copy()
    grippers[2] = np.nan
    poor = replace(episode, planned=replace(episode.planned, grippers=grippers))
    samples = WindowMaker(load_embodiment(file), ANCHORS).windows(poor)
    assert 2 not in samples.frame
    assert len(samples.frame) == len(episode) - 1


def test_the_same_scene_is_played_alike(file):
    rollout = Rollouts(load_embodiment(file))
    scene = sample_scene(rollout.embodiment, TRAIN, 1, 0)
    first, second = [
        [frame.tools[0].position for frame, _ in zip(rollout.play(scene), range(4), strict=False)]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(first, second)


def test_demonstrations_of_two_arms_are_of_both_tasks():
    agilex = load_embodiment(shared_file('config', 'agilex_sim.yaml'))
    scenes = Demonstrations(folder=None, count=4).scenes(agilex)
    assert [len(scene.picks) for scene in scenes] == [1, 1, 1, 1, 2, 2]
    assert scenes[-1] == sample_scene(agilex, TRAIN, 0, 1, BIMANUAL)
