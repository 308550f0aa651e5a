# SPDX-License-Identifier: Apache-2.0
"""
Run a policy in the simulation, without ROS and without waiting for real time.

The code that drives a real robot (`runtime/`) drives the arms: gate, queue, ramp and gripper
logic, with every setting of the embodiment. Time is simulated. So is the duration of an inference:
an answer arrives `latency_s` after its observation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xvla_ros.adapt.cell import Cell
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.model.policy import Policy
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.inference_loop import InferenceLoop
from xvla_ros.runtime.inputs import Inputs
from xvla_ros.runtime.policy import Outputs
from xvla_ros.runtime.predictor import facts_of
from xvla_ros.runtime.simulated import FixedLatency, Loop
from xvla_ros.sim.lifting import LiftJudge, Lifts
from xvla_ros.sim.scenes import PICK, sample_scene, Scene
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

    limit_s: longest episode. latency_s: how long an inference takes. replan_s: least time between
    two inferences. steps: of denoising. warm_start_time: flow time to start denoising at, from the
    plan in execution; 0 for noise alone. noise_seed: of the sampling noise. lift: an episode goes
    on until the named blocks are lifted, instead of until a block is reached.
    """

    limit_s: float = 12.0
    latency_s: float = 0.1
    replan_s: float = 0.2
    steps: int = 4
    warm_start_time: float = 0.0
    noise_seed: int = 0
    lift: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """
    One episode: reached the named block, or first another one (`wrong`).

    lifted: whether all named blocks were lifted, see `sim.lifting`. picked: colours of other
    blocks that were picked up. distance_m: horizontal, between the tool and the named block at the
    end. idle_m: farthest that the other arm's tool went from where it was, 0 without one.
    """

    scene: Scene
    reached: bool
    wrong: str
    time_s: float
    distance_m: float
    idle_m: float
    lifted: bool
    picked: tuple[str, ...]


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

    def __init__(
        self,
        embodiment: Embodiment,
        policy: Policy,
        conditions: Conditions,
        outputs: Outputs | None = None,
    ) -> None:
        """
        Build the robot's world.

        :param outputs: told of every target and judged chunk.
        """
        self.embodiment = _under(embodiment, conditions)
        self.policy, self.conditions = policy, conditions
        self.world, self.names = World(embodiment), embodiment.arm_names
        self._outputs = outputs
        self._step_s = 1.0 / embodiment.control.rate_hz

    def run(self, scene: Scene, start_ns: int = NANOSECONDS) -> Outcome:
        """
        Run one episode until a block is reached, or the named ones are lifted, or time is up.

        :param start_ns: the time at its beginning; noise depends on the time, too.
        """
        conditions = self.conditions
        schedule = FixedLatency(conditions.latency_s, conditions.replan_s)
        make_loop = self._make_loop(scene)
        outputs = self._outputs
        cell = Cell(self.embodiment, self.world, make_loop, schedule, outputs, start_ns)
        cell.begin(scene)
        watch, judge = ReachWatch(self.world, scene.arm), LiftJudge()
        starts = {name: self.world.tool_pose(name).position for name in self.names}
        idle, above, over = 0.0, '', False
        while self.world.time_s < conditions.limit_s and not over:
            cell.look()
            cell.step(self._step_s)
            above = above or watch.update()
            lifts = judge.look(
                self.world.time_s, self.world.tool_positions(), self.world.block_positions()
            )
            over = lifts.done(scene) if conditions.lift else bool(above)
            idle = max(idle, self._idle(scene, starts))
        return self._outcome(scene, above, idle, judge.lifts)

    def _make_loop(
        self, scene: Scene
    ) -> Callable[[Inputs, Clock, Callable[[object], None]], Loop]:
        """Return what makes the inference side, with noise of its own for every scene."""
        policy = replace(self.embodiment.policy, seed=noise_seed(self.conditions, scene))
        embodiment = replace(self.embodiment, policy=policy)

        def make(inputs: Inputs, clock: Clock, send: Callable[[object], None]) -> Loop:
            facts = facts_of(self.policy)
            return InferenceLoop(embodiment, self.policy, facts, inputs, clock, send)

        return make

    def _idle(self, scene: Scene, starts: dict[str, NDArray[np.float64]]) -> float:
        """Return how far arms without a block have moved from their start [m], at most."""
        others = [name for name in self.names if name not in scene.picks]
        return max(
            (float(np.linalg.norm(self.world.tool_pose(n).position - starts[n])) for n in others),
            default=0.0,
        )

    def _outcome(self, scene: Scene, above: str, idle: float, lifts: Lifts) -> Outcome:
        tool = self.world.tool_pose(scene.arm).position
        apart = tool - self.world.block_in_base(scene.arm, scene.colour)
        return Outcome(
            scene=scene,
            reached=above == scene.colour,
            wrong=above if above != scene.colour else '',
            time_s=self.world.time_s,
            distance_m=float(np.hypot(*apart[:2])),
            idle_m=idle,
            lifted=lifts.done(scene),
            picked=lifts.wrong(scene),
        )


def noise_seed(conditions: Conditions, scene: Scene) -> int:
    """Return the seed of the sampling noise of one scene."""
    parts = [conditions.noise_seed, scene.seed, scene.episode]
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _under(embodiment: Embodiment, conditions: Conditions) -> Embodiment:
    """Return the embodiment with the settings that conditions replace."""
    policy = replace(
        embodiment.policy,
        denoising_steps=conditions.steps,
        warm_start_time=conditions.warm_start_time,
    )
    return replace(embodiment, policy=policy)


def evaluate(
    embodiment: Embodiment,
    policy: Policy,
    purpose: int,
    seed: int,
    episodes: Sequence[int],
    conditions: Conditions,
    task: str = PICK,
) -> list[Outcome]:
    """Run the episodes of one purpose, seed and task, one after the other."""
    loop = ClosedLoop(embodiment, policy, conditions)
    scenes = (sample_scene(embodiment, purpose, seed, episode, task) for episode in episodes)
    return [loop.run(scene) for scene in scenes]
