# SPDX-License-Identifier: Apache-2.0
"""A simulated robot and the policy that drives it, advanced together; no ROS, no real time."""

from collections.abc import Callable
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.observation import Observation
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.inputs import Inputs
from xvla_ros.runtime.intake import Judged
from xvla_ros.runtime.policy import Outputs
from xvla_ros.runtime.simulated import Loop, Schedule, SimulatedClock, SimulatedRun
from xvla_ros.runtime.state import Command
from xvla_ros.sim.scenes import Scene
from xvla_ros.sim.world import World

# Makes what answers observations, given the inputs, the clock and what takes its answers.
MakeLoop = Callable[[Inputs, Clock, Callable[[object], None]], Loop]
# (H, W, 3) uint8 RGB of each camera, in the embodiment's order.
Images = tuple[NDArray[np.uint8], ...]


class WorldInputs:
    """
    The inputs of a simulated robot (`runtime.inputs`).

    `see` sets the time of the images. Images that are not passed to it are rendered on request,
    because rendering takes most of the time; they can be rendered until the world advances.
    """

    def __init__(self, embodiment: Embodiment, world: World, clock: Clock) -> None:
        """Begin without images."""
        assert embodiment.sim is not None
        self._names, self._cameras = embodiment.arm_names, embodiment.camera_names
        self._size = embodiment.sim.image_width, embodiment.sim.image_height
        self._world, self._clock = world, clock
        self._seen_ns = 0
        self._arms: tuple[ArmPose, ...] = ()
        self._images: Images | None = None

    def see(self, images: Images | None = None) -> None:
        """Set the time of the images to now; None renders them on request."""
        self._seen_ns, self._arms = self._clock.now_ns(), self.read()
        self._images = images

    def read(self) -> tuple[ArmPose, ...]:
        """Return the present state of the arms."""
        return tuple(self._world.tool_pose(name) for name in self._names)

    def wait_for_frame(self, after_ns: int, timeout_s: float) -> bool:
        """Tell whether images newer than a stamp are available."""
        shown = self._images is not None or self._seen_ns == self._clock.now_ns()
        return shown and self._seen_ns > after_ns

    def check(self) -> None:
        """
        Check that there are images.

        :raises ObservationError: they have not.
        """
        self.stamp_ns()

    def stamp_ns(self) -> int:
        """
        Return the time of the last images [ns].

        :raises ObservationError: they have not yet.
        """
        if not self._seen_ns:
            camera = f'camera {self._cameras[0]}'
            raise ObservationError(f'{camera}: no image yet', camera, 'missing')
        return self._seen_ns

    def observe(self, instruction: str) -> Observation:
        """
        Return the last images, and the state of the arms at their time.

        :raises ObservationError: there are no images, or they can no longer be rendered.
        """
        if not self.wait_for_frame(0, 0.0):
            camera = f'camera {self._cameras[0]}'
            raise ObservationError(
                f'{camera}: no image can be rendered any more', camera, 'missing'
            )
        images = self._images
        if images is None:
            images = tuple(self._world.render(name, *self._size) for name in self._cameras)
        streams = [f'camera {name}' for name in self._cameras]
        streams += [f'{kind} {name}' for name in self._names for kind in ('arm', 'gripper')]
        return Observation(
            images=images,
            arms=self._arms,
            instruction=instruction,
            stamps_ns=dict.fromkeys(streams, self._seen_ns),
        )


class WorldOutputs:
    """Sends targets to a simulated robot, and forwards the policy's outputs."""

    def __init__(self, embodiment: Embodiment, world: World, other: Outputs | None) -> None:
        """Set the robot to move and the receivers of the outputs."""
        self._names, self._world, self._other = embodiment.arm_names, world, other

    def send(self, command: Command, now_ns: int) -> None:
        """Set the arms' targets; a hold leaves them where they are going."""
        for name, target in zip(self._names, command.targets or (), strict=False):
            if target.joints is None:
                self._world.set_tool_target(name, target.position, target.quaternion)
            else:
                self._world.set_joint_targets(name, target.joints)
            if math.isfinite(target.gripper):
                self._world.set_gripper(name, target.gripper)
        if self._other:
            self._other.send(command, now_ns)

    def show(self, judged: Judged) -> None:
        """Pass on a judged chunk."""
        if self._other:
            self._other.show(judged)


class Cell:
    """
    Runs one episode at a time: takes images, runs the policy, advances time.

    The clock continues through all episodes, as on a robot.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        world: World,
        make_loop: MakeLoop,
        schedule: Schedule,
        outputs: Outputs | None = None,
        start_ns: int = NANOSECONDS,
    ) -> None:
        """
        Connect a policy to a world.

        :param outputs: told of what leaves the policy, besides the world.
        :param start_ns: the clock's time at the beginning; after 0, which means not known.
        """
        self._world, self._begun_ns = world, start_ns
        self.clock = SimulatedClock()
        self.inputs = WorldInputs(embodiment, world, self.clock)
        self._run = SimulatedRun(
            embodiment, self.clock, self.inputs, self.inputs,
            WorldOutputs(embodiment, world, outputs),
            lambda send: make_loop(self.inputs, self.clock, send), schedule,
        )  # fmt: skip
        self.control = self._run.runtime.control
        self._run.begin(start_ns)

    def begin(self, scene: Scene) -> None:
        """Put the world into a scene, and have the policy follow its instruction."""
        self._world.reset(scene)
        self._begun_ns = self.clock.now_ns()
        self._run.runtime.follow(scene.instruction)

    def look(self, images: Images | None = None) -> None:
        """Take images now, and start an inference if one may start."""
        self.inputs.see(images)
        self._run.look()

    def step(self, dt_s: float) -> None:
        """Run what is due now, then advance time."""
        self._run.advance(self.clock.now_ns() + 1)
        self._world.step(dt_s)
        self._run.advance(self._begun_ns + round(self._world.time_s * NANOSECONDS))
