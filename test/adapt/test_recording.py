# SPDX-License-Identifier: Apache-2.0
"""Recording the expert: repeatable, right when acted out, never on a scene that is evaluated."""

from dataclasses import replace

import numpy as np
import pytest

from xvla_ros.adapt.closed_loop import ClosedLoop, Conditions
from xvla_ros.adapt.demo.demo_policy import demo_embodiments
from xvla_ros.adapt.demo.recording import SamplePlan, SampleRecorder
from xvla_ros.adapt.demo.samples import create_samples, open_samples
from xvla_ros.core.errors import CheckpointError
from xvla_ros.core.profile import ActionProfile
from xvla_ros.runtime.worker_messages import Answer, Timing
from xvla_ros.sim.scenes import EVALUATE, sample_scene, TRAIN, VALIDATE

ROBOTS = demo_embodiments()
ARRAYS = ('images', 'proprio', 'actions', 'pixels', 'blocks', 'scene')
robots = pytest.mark.parametrize('robot', ROBOTS, ids=lambda robot: robot.robot)


class ExpertLoop(ClosedLoop):
    """The loop with the recorded labels in place of a network."""

    def __init__(self, robot):
        super().__init__(robot, None, Conditions())
        self.recorder = SampleRecorder(robot)
        self.recorder.world = self.world

    def run(self, scene, **options):
        """Remember the scene."""
        self.scene = scene
        return super().run(scene, **options)

    def _make_loop(self, scene):
        return lambda inputs, clock, send: Labels(self, inputs, send)


class Labels:
    """Answers observations with what the recorder would write down for them."""

    def __init__(self, loop, inputs, send):
        self.loop, self.inputs, self.send, self.last_ns = loop, inputs, send, 0

    def tell(self, message):
        """Take a Task or a Committed; labels depend on neither."""

    def attempt(self, task):
        self.last_ns = stamp_ns = self.inputs.stamp_ns()
        scene, tools = self.loop.scene, self.inputs.read()
        label = self.loop.recorder._label(tools, scene, scene.colour)
        chunk = ActionProfile(self.loop.embodiment).chunk(label, stamp_ns)
        self.send(Answer(chunk=chunk, arms=tools, epoch=task.epoch, timing=Timing()))


@robots
def test_a_recording_is_the_same_every_time(robot, tmp_path):
    plan = SamplePlan(scenes=2, states=3, purpose=TRAIN, seed=5)
    one, two = (SampleRecorder(robot).record(tmp_path / name, plan) for name in 'ab')
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    again = open_samples(tmp_path / 'a')
    assert len(again) == 6
    assert again.images.std() > 10
    assert set(again.scene.tolist()) == {0, 1}


@robots
def test_labels_acted_out_reach_the_named_block(robot):
    loop = ExpertLoop(robot)
    outcomes = [loop.run(sample_scene(robot, VALIDATE, 9, episode)) for episode in range(4)]
    assert [outcome.reached for outcome in outcomes] == [True] * 4
    assert max(outcome.idle_m for outcome in outcomes) < 0.01


@robots
def test_labels_differ_by_colour_and_start_where_the_tool_is(robot, tmp_path):
    samples = SampleRecorder(robot).record(tmp_path, SamplePlan(scenes=3, states=2, purpose=TRAIN))
    ends = samples.actions[:, :, -1]
    apart = np.abs(ends[:, 0] - ends[:, 1]).max(axis=-1)
    assert apart.min() > 0.05
    first = samples.actions[:, :, 0] - samples.proprio[:, None]
    positions = np.concatenate([first[..., :3], first[..., 10:13]], axis=-1)
    assert np.abs(positions).max() < 1.05 * robot.sim.expert_speed_m_s * 0.1


def test_no_training_scene_is_ever_an_evaluation_scene():
    def places(purpose, robot):
        scenes = (sample_scene(robot, purpose, seed, e) for seed in range(3) for e in range(100))
        return {scene.blocks for scene in scenes}

    for robot in ROBOTS:
        train, evaluate, validate = (places(p, robot) for p in (TRAIN, EVALUATE, VALIDATE))
        assert len(train | evaluate | validate) == 900
    assert len({replace(sample_scene(r, TRAIN, 0, 0)).blocks for r in ROBOTS}) == len(ROBOTS)


def test_a_folder_without_samples_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='not a folder of samples'):
        open_samples(tmp_path)
    layout = SampleRecorder(ROBOTS[0]).layout(2)
    create_samples(tmp_path, layout)
    np.save(tmp_path / 'blocks.npy', np.zeros((1, 3, 3), np.float32))
    with pytest.raises(CheckpointError, match='blocks'):
        open_samples(tmp_path)
