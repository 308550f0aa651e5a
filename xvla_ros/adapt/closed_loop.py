# SPDX-License-Identifier: Apache-2.0
"""
Run a policy in the simulation, without ROS and without waiting for real time.

Time is simulated and so is the time an inference takes: a chunk is put into the queue that much
after its observation, as it is with a robot, so that what is measured here is what the ROS loop
does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.committed import CommittedMotion
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.profile import ActionProfile
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.model.policy import Policy
from xvla_ros.sim.scenes import sample_scene, Scene
from xvla_ros.sim.world import World

# What counts as reached: this long within this distance, horizontally, and less than this height
# above the block's centre.
REACH_S = 0.5
REACH_M = 0.03
REACH_HEIGHT_M = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """
    How episodes are run.

    latency_s: how long an inference takes. warm_start_time: flow time to start denoising at, from
    the plan in execution; 0 for noise alone.
    """

    limit_s: float = 12.0
    latency_s: float = 0.1
    replan_s: float = 0.2
    tick_s: float = 0.02
    steps: int = 4
    warm_start_time: float = 0.0
    noise_seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """
    One episode: reached the named block, or first another one.

    distance_m: horizontal, between the tool and the named block at the end. idle_m: farthest that
    the other arm's tool went from where it was, 0 without one.
    """

    scene: Scene
    reached: bool
    wrong: str
    time_s: float
    distance_m: float
    idle_m: float


class ReachWatch:
    """Tells when the tool has stayed above a block."""

    def __init__(self, world: World, arm: str) -> None:
        self.world, self.arm = world, arm
        self.since: dict[str, float] = {}

    def update(self) -> str:
        """Return the colour of the block that the tool has stayed above, or nothing yet."""
        tool, now = self.world.tool_pose(self.arm).position, self.world.time_s
        for colour in self.world.block_positions():
            apart = tool - self.world.block_in_base(self.arm, colour)
            near = np.hypot(*apart[:2]) < REACH_M and apart[2] < REACH_HEIGHT_M
            self.since[colour] = self.since.get(colour, now) if near else now
            if now - self.since[colour] >= REACH_S:
                return colour
        return ''


class ClosedLoop:
    """One policy on one simulated robot."""

    def __init__(self, embodiment: Embodiment, policy: Policy, conditions: Conditions) -> None:
        self.embodiment, self.policy, self.conditions = embodiment, policy, conditions
        self.world = World(embodiment)
        self.names, self.profile = embodiment.arm_names, ActionProfile(embodiment)
        self.committed = CommittedMotion(embodiment)

    def run(self, scene: Scene) -> Outcome:
        """Run one episode until a block is reached or time is up."""
        self.world.reset(scene)
        noise = np.random.default_rng([self.conditions.noise_seed, scene.seed, scene.episode])
        queue, watch = self._queue(), ReachWatch(self.world, scene.arm)
        starts = {name: self.world.tool_pose(name).position for name in self.names}
        waiting: Chunk | None = None
        asked_s, idle, above = -np.inf, 0.0, ''
        while self.world.time_s < self.conditions.limit_s and not above:
            now_s = self.world.time_s
            if waiting is None and now_s >= asked_s + self.conditions.replan_s:
                waiting, asked_s = self._infer(scene.instruction, noise, queue), now_s
            if waiting is not None and now_s >= asked_s + self.conditions.latency_s:
                queue.put(waiting, round(now_s * NANOSECONDS))
                waiting = None
            self._command(queue)
            self.world.step(self.conditions.tick_s)
            above = watch.update()
            idle = max(idle, self._idle(scene.arm, starts))
        return self._outcome(scene, above, idle)

    def _queue(self) -> ChunkQueue:
        control = self.embodiment.control
        return ChunkQueue(
            strategy=control.strategy,
            layout=self.embodiment.policy.rotation_6d_layout,
            blend_s=control.blend_s,
            arms=len(self.names),
        )

    def _infer(self, instruction: str, noise: np.random.Generator, queue: ChunkQueue) -> Chunk:
        """Observe now and predict a chunk."""
        settings, sim = self.embodiment.policy, self.embodiment.sim
        size = sim.image_width, sim.image_height
        images = [self.world.render(name, *size) for name in self.embodiment.camera_names]
        shape = (self.policy.config.num_actions, self.policy.mode.dim)
        measured = [self.world.tool_pose(name) for name in self.names]
        now_ns = round(self.world.time_s * NANOSECONDS)
        actions = self.policy.predict(
            images,
            self.profile.proprio(measured),
            instruction,
            settings.domain_id,
            steps=self.conditions.steps,
            noise=noise.standard_normal(shape).astype(np.float32),
            warm_start=self._warm_start(queue, now_ns),
        )
        return self.profile.chunk(actions, now_ns)

    def _warm_start(self, queue: ChunkQueue, now_ns: int) -> WarmStart | None:
        """Return the plan in execution, where denoising starts from it."""
        if not self.conditions.warm_start_time:
            return None
        count = self.policy.config.num_actions
        plan = queue.plan(now_ns, self.embodiment.policy.anchor_period_s, count)
        guess = self.committed.guess(plan, now_ns, count)
        return WarmStart(plan=guess, time=self.conditions.warm_start_time)

    def _command(self, queue: ChunkQueue) -> None:
        targets = queue.take(round(self.world.time_s * NANOSECONDS))
        for name, target in zip(self.names, targets or (), strict=False):
            self.world.set_tool_target(name, target.position, target.quaternion)
            self.world.set_gripper(name, float(target.gripper < 0.5))

    def _idle(self, moving: str, starts: dict[str, np.ndarray]) -> float:
        """Return how far the arms that should hold still are from where they were."""
        others = [name for name in self.names if name != moving]
        return max(
            (float(np.linalg.norm(self.world.tool_pose(n).position - starts[n])) for n in others),
            default=0.0,
        )

    def _outcome(self, scene: Scene, above: str, idle: float) -> Outcome:
        tool = self.world.tool_pose(scene.arm).position
        apart = tool - self.world.block_in_base(scene.arm, scene.colour)
        return Outcome(
            scene=scene,
            reached=above == scene.colour,
            wrong=above if above != scene.colour else '',
            time_s=self.world.time_s,
            distance_m=float(np.hypot(*apart[:2])),
            idle_m=idle,
        )


def evaluate(
    embodiment: Embodiment,
    policy: Policy,
    purpose: int,
    seed: int,
    episodes: Sequence[int],
    conditions: Conditions,
) -> list[Outcome]:
    """Run the episodes of one purpose and seed, one after the other."""
    loop = ClosedLoop(embodiment, policy, conditions)
    return [loop.run(sample_scene(embodiment, purpose, seed, episode)) for episode in episodes]
