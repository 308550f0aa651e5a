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
    What a simulated robot shows of itself (`runtime.inputs`).

    Cameras see at the times of `see`. Images that are not given there are drawn when somebody
    asks, which is possible until the world goes on: drawing takes longest by far.
    """

    def __init__(self, embodiment: Embodiment, world: World, clock: Clock) -> None:
        """Begin with nothing seen."""
        assert embodiment.sim is not None
        self._names, self._cameras = embodiment.arm_names, embodiment.camera_names
        self._size = embodiment.sim.image_width, embodiment.sim.image_height
        self._world, self._clock = world, clock
        self._seen_ns = 0
        self._arms: tuple[ArmPose, ...] = ()
        self._images: Images | None = None

    def see(self, images: Images | None = None) -> None:
        """Have the cameras look now; what they see may be known already."""
        self._seen_ns, self._arms = self._clock.now_ns(), self.read()
        self._images = images

    def read(self) -> tuple[ArmPose, ...]:
        """Return the arms as they are."""
        return tuple(self._world.tool_pose(name) for name in self._names)

    def wait_for_frame(self, after_ns: int, timeout_s: float) -> bool:
        """Tell whether the cameras have seen something newer than a stamp that can be shown."""
        shown = self._images is not None or self._seen_ns == self._clock.now_ns()
        return shown and self._seen_ns > after_ns

    def check(self) -> None:
        """
        Tell whether the cameras have seen anything.

        :raises ObservationError: they have not.
        """
        self.stamp_ns()

    def stamp_ns(self) -> int:
        """
        Return when the cameras looked last [ns].

        :raises ObservationError: they have not yet.
        """
        if not self._seen_ns:
            camera = f'camera {self._cameras[0]}'
            raise ObservationError(f'{camera}: nothing seen yet', camera, 'missing')
        return self._seen_ns

    def observe(self, instruction: str) -> Observation:
        """
        Return what the cameras saw last, and where the arms were then.

        :raises ObservationError: they have not seen anything, or it was not drawn in time.
        """
        if not self.wait_for_frame(0, 0.0):
            camera = f'camera {self._cameras[0]}'
            raise ObservationError(f'{camera}: nothing to be seen now', camera, 'missing')
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
    """Moves a simulated robot to its targets, and passes on what leaves the policy."""

    def __init__(self, embodiment: Embodiment, world: World, other: Outputs | None) -> None:
        """Remember whom to move, and who else is told."""
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
    One episode at a time: cameras see, the policy does what is due, time passes.

    The clock goes on through all episodes, as a robot's does.
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
        """Have the cameras see now, and an inference begin if one may."""
        self.inputs.see(images)
        self._run.look()

    def step(self, dt_s: float) -> None:
        """Do what is due now, then let time pass."""
        self._run.advance(self.clock.now_ns() + 1)
        self._world.step(dt_s)
        self._run.advance(self._begun_ns + round(self._world.time_s * NANOSECONDS))
