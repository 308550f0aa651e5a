# SPDX-License-Identifier: Apache-2.0
"""What drives a real robot lets the expert lift: gate, queue, gripper logic and latency."""

from dataclasses import replace

from counts import FULL
import numpy as np
import pytest

from xvla_ros.adapt.cell import Cell
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import pack
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.simulated import FixedLatency
from xvla_ros.runtime.worker_messages import Answer, Timing
from xvla_ros.sim.expert import Expert
from xvla_ros.sim.lifting import LiftJudge
from xvla_ros.sim.scenes import BIMANUAL, EVALUATE, PICK, sample_scene
from xvla_ros.sim.world import World

LIMIT_S = 12.0
LATENCY_S, REPLAN_S = 0.1, 0.2
TASKS = [('franka', PICK), ('widowx', PICK), ('agilex', PICK), ('agilex', BIMANUAL)]


class ExpertLoop:
    """Answers every look with the expert's plan from there; draws no images."""

    def __init__(self, world, scene, inputs, send):
        self.world, self.scene, self.inputs, self.send = world, scene, inputs, send
        self.expert, self.last_ns = Expert(world.embodiment), 0

    def tell(self, message):
        """Take a Task or a Committed; the expert needs neither."""

    def attempt(self, task):
        stamp, arms = self.inputs.stamp_ns(), self.inputs.read()
        self.last_ns = stamp
        blocks = {a: self.world.block_in_base(a, c) for a, c in self.scene.picks.items()}
        plans = self.expert.plan(
            arms, self.scene, blocks.pop(self.scene.arm), lift=True, also=blocks
        )
        layout = self.world.embodiment.policy.rotation_6d_layout
        rows = [
            pack([replace(pose, gripper=1.0 - pose.gripper) for pose in step], layout)
            for step in zip(*(plan.poses() for plan in plans), strict=True)
        ]
        chunk = Chunk(stamp_ns=stamp, period_s=0.1, actions=np.stack(rows))
        timing = Timing(image_age_s=0.0, preprocess_s=0.0, inference_s=LATENCY_S)
        self.send(Answer(chunk=chunk, arms=arms, epoch=task.epoch, timing=timing))


@pytest.mark.parametrize(('robot', 'task'), TASKS)
def test_the_expert_lifts_through_the_runtime(robot, task):
    embodiment = load_embodiment(shared_file('config', f'{robot}_sim.yaml'))
    world = World(embodiment)
    for episode in range(20 if FULL else 2):
        scene = sample_scene(embodiment, EVALUATE, 13, episode, task)
        cell = Cell(
            embodiment, world, lambda i, c, s, scene=scene: ExpertLoop(world, scene, i, s),
            FixedLatency(LATENCY_S, REPLAN_S),
        )  # fmt: skip
        cell.begin(scene)
        judge = LiftJudge()
        while world.time_s < LIMIT_S and not judge.lifts.done(scene):
            cell.look()
            cell.step(1.0 / embodiment.control.rate_hz)
            judge.look(world.time_s, world.tool_positions(), world.block_positions())
        assert judge.lifts.done(scene), f'episode {episode}'
        assert not judge.lifts.wrong(scene), f'episode {episode}'
    world.close()
