# SPDX-License-Identifier: Apache-2.0
"""
Record plans of the scripted expert from the states of a noisy motion.

An arm is put at each state by inverse kinematics, the cameras are drawn, and the label is the
expert's clean plan from there, towards each of the blocks: only the instruction tells which of
them applies. Noise in the visited states, never in the labels, teaches the policy to come back
from its own errors (DART, Laskey et al. 2017).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
import time
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from xvla_ros.adapt.demo.samples import create_samples, open_samples, SampleLayout, Samples
from xvla_ros.adapt.demo.small_network import COLOURS, IMAGE_SIDE
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose, EE6D_SIZE, pack
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.core.profile import ActionProfile
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.sim.expert import ArmPlan, Expert
from xvla_ros.sim.scenes import sample_scene, Scene
from xvla_ros.sim.world import World

ANCHORS = 30
# Between two recorded states: this many anchors of the expert's plan.
STRIDE = (1, 5)
# Standard deviations of the noise on a visited state: drift, slip or kick, and orientation.
SPREADS_M = (0.006, 0.02, 0.04)
SPREAD_SHARES = (0.5, 0.35, 0.15)
TILT_RAD = 0.03
# Share of episodes that an arm begins away from home, and how far.
AWAY_SHARE = 0.3
AWAY_M = 0.08
# A tool is not put lower than this above the table.
LEAST_HEIGHT_M = 0.045


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplePlan:
    """How much to record: `scenes` of a purpose and seed, `states` in each."""

    scenes: int
    states: int
    purpose: int
    seed: int = 0


class SampleRecorder:
    """Records samples of one simulated robot; the same plan gives the same samples."""

    def __init__(self, embodiment: Embodiment) -> None:
        self.embodiment = embodiment
        self.world, self.expert = World(embodiment), Expert(embodiment)
        self.images = ImageProcessor((IMAGE_SIDE, IMAGE_SIDE))
        self.profile: ActionProfile | JointProfile = ActionProfile(embodiment)
        self.width = EE6D_SIZE

    def layout(self, count: int) -> SampleLayout:
        """Describe `count` samples of this robot."""
        return SampleLayout(
            robot=self.embodiment.robot,
            domain_id=self.embodiment.policy.domain_id,
            count=count,
            views=len(self.embodiment.camera_names),
            colours=len(COLOURS),
            anchors=ANCHORS,
            side=IMAGE_SIDE,
            width=self.width,
        )

    def record(self, path: Path, plan: SamplePlan) -> Samples:
        """Record a plan into a folder, with a line of progress."""
        samples = create_samples(path, self.layout(plan.scenes * plan.states))
        bar = tqdm(
            range(plan.scenes), f'record {self.embodiment.robot}', unit='scene', mininterval=5
        )
        for episode in bar:
            scene = sample_scene(self.embodiment, plan.purpose, plan.seed, episode)
            for number, values in enumerate(self.episode(scene, plan.states)):
                samples.write(episode * plan.states + number, values)
        return samples

    def episode(self, scene: Scene, states: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the samples of one noisy episode towards the scene's block."""
        random = np.random.default_rng([*scene_key(self.embodiment, scene), 1])
        self.world.reset(scene)
        self._disturb(random, scene)
        for _ in range(states):
            yield self.sample(scene)
            self._advance(random, scene)

    def sample(self, scene: Scene) -> dict[str, NDArray[Any]]:
        """Record the current state: images, poses, and the expert's plan to every block."""
        tools = [self.world.tool_pose(name) for name in self.embodiment.arm_names]
        views = self.embodiment.camera_names
        places = self.world.block_positions()
        blocks = np.array([places[colour] for colour in COLOURS])
        return {
            'images': np.stack([self._look(name) for name in views]),
            'proprio': self.profile.proprio(tools),
            'actions': np.stack([self._label(tools, scene, colour) for colour in COLOURS]),
            'pixels': np.stack([project(self.world, name, blocks) for name in views]),
            'blocks': blocks,
            'scene': np.array(scene.episode),
        }

    def _look(self, camera: str) -> NDArray[np.uint8]:
        """Draw a camera at its own size and shrink the image as inference does."""
        sim = self.embodiment.sim
        assert sim is not None  # the world refuses an embodiment without a simulation
        image = self.world.render(camera, sim.image_width, sim.image_height)
        small: NDArray[np.uint8] = self.images.resize(image)[0].permute(1, 2, 0).numpy()
        return small

    def plans(self, tools: list[ArmPose], scene: Scene, colour: str) -> tuple[ArmPlan, ...]:
        """Return the expert's plan of each arm towards a colour; the nearest arm goes."""
        arm = near_arm(self.world, scene, colour)
        aimed = replace(scene, colour=colour, arm=arm)
        period = self.embodiment.policy.anchor_period_s
        block = self.world.block_in_base(arm, colour)
        return self.expert.plan(tools, aimed, block, count=ANCHORS, period_s=period)

    def _label(self, tools: list[ArmPose], scene: Scene, colour: str) -> NDArray[np.float32]:
        """Return the expert's plan (30, 20) towards a colour; grippers 1 for closed."""
        plans, period = self.plans(tools, scene, colour), self.embodiment.policy.anchor_period_s
        layout = self.embodiment.policy.rotation_6d_layout
        steps = zip(*(plan.poses() for plan in plans), strict=True)
        actions = np.stack([pack([closed(pose) for pose in step], layout) for step in steps])
        return self.profile.raw(Chunk(stamp_ns=0, period_s=period, actions=actions))

    def _advance(self, random: np.random.Generator, scene: Scene) -> None:
        """Move the arms to where the expert would be one to five anchors later, plus noise."""
        tools = [self.world.tool_pose(name) for name in self.embodiment.arm_names]
        block = self.world.block_in_base(scene.arm, scene.colour)
        period = self.embodiment.policy.anchor_period_s
        plans = self.expert.plan(tools, scene, block, count=STRIDE[1], period_s=period)
        step = random.integers(STRIDE[0] - 1, STRIDE[1])
        for name, plan in zip(self.embodiment.arm_names, plans, strict=True):
            spread = random.choice(SPREADS_M, p=SPREAD_SHARES)
            self._put(random, name, plan.positions[step], plan.quaternions[step], spread)

    def _disturb(self, random: np.random.Generator, scene: Scene) -> None:
        """In AWAY_SHARE of the episodes, start an arm away from home; each arm by itself."""
        for name in self.embodiment.arm_names:
            tool = self.world.tool_pose(name)
            if random.random() < AWAY_SHARE:
                self._put(random, name, tool.position, tool.quaternion, AWAY_M)

    def _put(
        self,
        random: np.random.Generator,
        name: str,
        position: NDArray[np.float64],
        quaternion: NDArray[np.float64],
        spread: float,
    ) -> None:
        """Put an arm near a pose; it stays where it is when it cannot go there."""
        position = position + random.normal(0, spread, 3)
        position[2] = max(position[2], LEAST_HEIGHT_M)
        tilt = Rotation.from_rotvec(random.normal(0, TILT_RAD, 3)) * Rotation.from_quat(quaternion)
        arm = self.world.arms[name]
        result = arm.kinematics.inverse(position, tilt.as_quat(), self.world.joint_positions(name))
        if result.converged:
            self.world.place_arm(name, result.q)


def recorded(
    recorder: type[SampleRecorder], embodiment: Embodiment, folder: Path, plan: SamplePlan
) -> Samples:
    """Open one robot's recording; record first when it is missing or of another plan."""
    done = folder / 'done'
    if done.exists() and done.read_text() == repr(plan):
        return open_samples(folder)
    done.unlink(missing_ok=True)
    begin = time.monotonic()
    samples = recorder(embodiment).record(folder, plan)
    tqdm.write(f'{embodiment.robot}: recorded in {(time.monotonic() - begin) / 60:.1f} min')
    done.write_text(repr(plan))
    return samples


def scene_key(embodiment: Embodiment, scene: Scene) -> tuple[int, ...]:
    """Return the numbers that a scene is drawn from, to seed other random choices."""
    return scene.purpose, zlib.crc32(embodiment.robot.encode()), scene.seed, scene.episode


def closed(pose: ArmPose) -> ArmPose:
    """Return a pose with its opening turned into the model's probability of being closed."""
    return replace(pose, gripper=1.0 - pose.gripper)


def near_arm(world: World, scene: Scene, colour: str) -> str:
    """Return the arm that should move: the scene's for its own block, else the nearest."""
    if colour == scene.colour:
        return scene.arm
    return min(world.arms, key=lambda arm: np.linalg.norm(world.block_in_base(arm, colour)[:2]))


def project(world: World, camera: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a camera sees points (N, 3) of the world: (N, 2), 0 to 1; NaN out of view."""
    places = world.project(camera, points)
    inside = ((places >= 0) & (places < 1)).all(axis=-1, keepdims=True)
    return np.where(inside, places, np.nan)
