# SPDX-License-Identifier: Apache-2.0
"""
The gate: time to judge a chunk of 30 anchors, and a step, collisions on, one core.

In joint space the robots are a Franka (7 joints) and ALOHA (2 x 6 joints); the worse is reported.
Chunks and steps are ordinary: within the limits, so that every rule is looked at to its end.
Chunks of tool poses are looked at for collisions with one WidowX and with two Pipers, which follow
them by inverse kinematics. `cpu` is the same percentile of processor time, which other work on the
machine cannot lengthen.
"""

from collections.abc import Callable, Iterator, Sequence
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.control.collisions.chunks import ChunkCollisions
from xvla_ros.control.robot_model import joint_space, RobotModel
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.core.safety import SafetyGate

ROBOTS = ('franka_joint_sim', 'aloha')
POSE_ROBOTS = ('widowx_sim', 'agilex_sim')
CHUNKS, TICKS = 300, 3000
ANCHORS, PERIOD_S, RATE_HZ, MS = 30, 0.05, 50.0, 1_000_000
# How far joints swing [rad], and how fast [Hz].
SWING_RAD, SWING_HZ = 0.12, 0.2


def run() -> dict[str, dict[str, Any]]:
    """Return gate.chunk_ms_p99, gate.tick_ms_p99 and gate.pose_chunk_ms_p99, keyed by name."""
    chunks, ticks = zip(*(_measured(_embodiment(name)) for name in ROBOTS), strict=True)
    poses = tuple(_followed(_embodiment(name)) for name in POSE_ROBOTS)
    return {
        'gate.chunk_ms_p99': _worst(ROBOTS, chunks),
        'gate.tick_ms_p99': _worst(ROBOTS, ticks),
        'gate.pose_chunk_ms_p99': _worst(POSE_ROBOTS, poses),
    }


def _embodiment(name: str) -> Embodiment:
    """Return a robot with collisions."""
    known = {'limits.check_collisions': True}
    return load_embodiment(shared_file('config', f'{name}.yaml'), known)


class _Robot:
    """One robot that swings around its home."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Read its model."""
        self.space, self.counts = joint_space(embodiment), embodiment.joint_counts
        self.gate = SafetyGate(embodiment, RobotModel(embodiment))
        self.home = np.concatenate([arm.home_rad for arm in embodiment.arms.values()])

    def at(self, time_s: float) -> NDArray[np.float64]:
        """Return the joints (N,) at a time [s]."""
        phases = 2 * np.pi * SWING_HZ * time_s + 0.4 * np.arange(len(self.home))
        swing: NDArray[np.float64] = SWING_RAD * (np.cos(phases) - np.cos(phases[0] * 0))
        return self.home + swing / 2

    def arms(self, q: NDArray[np.float64]) -> tuple[ArmPose, ...]:
        """Return joints (N,) as arms."""
        parts = np.split(q, np.cumsum(self.counts)[:-1])
        return self.space.arms([(*part.tolist(), 0.5) for part in parts])

    def chunk(self, time_s: float) -> Chunk:
        """Return the swing from a time on as a chunk."""
        rows = []
        for anchor in range(ANCHORS):
            parts = np.split(self.at(time_s + anchor * PERIOD_S), np.cumsum(self.counts)[:-1])
            rows.append(np.concatenate([np.append(part, 0.5) for part in parts]))
        stamp_ns = round(time_s * 1e9)
        return Chunk(
            stamp_ns=stamp_ns, period_s=PERIOD_S, actions=np.array(rows), joint_counts=self.counts
        )


Spent = list[tuple[float, float]]


def _measured(embodiment: Embodiment) -> tuple[Spent, Spent]:
    """Return wall and processor milliseconds of each chunk and of each tick."""
    robot = _Robot(embodiment)
    chunks: Spent = []
    for number in range(CHUNKS):
        chunk, here = robot.chunk(0.1 * number), robot.arms(robot.at(0.1 * number))
        verdict = _timed(chunks, lambda chunk=chunk, here=here: robot.gate.check(chunk, here))
        assert verdict.accepted, verdict.message
    return chunks, list(_ticks(robot))


def _ticks(robot: _Robot) -> Iterator[tuple[float, float]]:
    """Yield what each tick takes: the target from the plan, and its check."""
    queue, now_ns = ChunkQueue(space=robot.space), 0
    period_ns = round(1e9 / RATE_HZ)
    queue.engage(robot.arms(robot.at(0.0)), now_ns)
    spent: Spent = []
    for tick in range(TICKS):
        if tick % 10 == 0:
            queue.put(robot.chunk(now_ns * 1e-9), now_ns)
        now_ns += period_ns
        here = robot.arms(robot.at(now_ns * 1e-9))

        def step(now_ns: int = now_ns, here: tuple[ArmPose, ...] = here) -> Any:
            return robot.gate.check_step(queue.take(now_ns) or here, here, 1 / RATE_HZ)

        verdict = _timed(spent, step)
        assert verdict.accepted, verdict.message
        yield spent.pop()


def _followed(embodiment: Embodiment) -> Spent:
    """Return milliseconds of the collision check of each chunk of tool poses."""
    check = ChunkCollisions(embodiment)
    arms = tuple((arm_kinematics(a), np.array(a.home_rad)) for a in embodiment.arms.values())
    layout = embodiment.policy.rotation_6d_layout
    spent: Spent = []

    def tools(time_s: float) -> tuple[ArmPose, ...]:
        swing = SWING_RAD * np.cos(2 * np.pi * SWING_HZ * time_s + 0.4 * np.arange(6))
        each = [(kinematics.forward(home + swing), home + swing) for kinematics, home in arms]
        return tuple(
            ArmPose(position=place, quaternion=turn, gripper=0.5, joints=q)
            for (place, turn), q in each
        )

    for number in range(CHUNKS):
        times = 0.1 * number + PERIOD_S * np.arange(ANCHORS + 1)
        here, *way = [tools(time_s) for time_s in times.tolist()]
        rows = np.array([pack(poses, layout) for poses in way])
        chunk = Chunk(stamp_ns=0, period_s=PERIOD_S, actions=rows)
        touching = _timed(spent, lambda chunk=chunk, here=here: check.touching(chunk, here))
        assert not touching, touching
    return spent


def _timed(spent: Spent, work: Callable[[], Any]) -> Any:
    """Do some work and note its wall and processor milliseconds."""
    wall, cpu = time.perf_counter(), time.thread_time()
    done = work()
    spent.append((1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - cpu)))
    return done


def _worst(names: Sequence[str], each: tuple[Spent, ...]) -> dict[str, Any]:
    """Return the entry of the robot that took longest."""
    found = [np.percentile(spent, 99, axis=0).round(3).tolist() for spent in each]
    wall, cpu = max(found, key=lambda pair: pair[1])
    robots = {name: pair[0] for name, pair in zip(names, found, strict=True)}
    return {'ours': wall, 'unit': 'ms', 'n': sum(map(len, each)), 'cpu': cpu, 'robots': robots}
