# SPDX-License-Identifier: Apache-2.0
"""
Inverse kinematics: time per call and how many reachable poses it reaches.

Targets are tool poses of joints drawn evenly within the limits; warm calls start within 0.2 rad of
them, cold ones at the home posture. All arms are pooled; the worst arm's success is reported.
`cpu` is the same percentile of processor time, which other work on the machine cannot lengthen.
"""

import time

import numpy as np
from scipy.spatial.transform import Rotation

from xvla_ros.control.inverse.solver import IkResult
from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file

EMBODIMENTS = ('franka', 'widowx', 'agilex')
POSES = 2000
NEARBY_RAD = 0.2
# What counts as reached.
POSITION_M = 1e-3
ROTATION_RAD = np.radians(0.5)


def run() -> dict[str, dict[str, float | str]]:
    """Return ik.warm_ms_p99, ik.cold_ms_p99 and ik.success_percent, keyed by name."""
    warm_ms: list[tuple[float, float]] = []
    cold_ms: list[tuple[float, float]] = []
    success = []
    for name in EMBODIMENTS:
        for times, nearby in ((warm_ms, True), (cold_ms, False)):
            spent, reached = _measure(_kinematics(name), nearby)
            times.extend(spent)
            success.append(100.0 * reached / POSES)
    return {
        'ik.warm_ms_p99': _times(warm_ms),
        'ik.cold_ms_p99': _times(cold_ms),
        'ik.success_percent': {
            'ours': round(min(success), 3),
            'unit': '%',
            'n': len(warm_ms) + len(cold_ms),
        },
    }


def _measure(kinematics: Kinematics, nearby: bool) -> tuple[list[tuple[float, float]], int]:
    """Return the wall and processor milliseconds of each call and how many reached."""
    rng = np.random.default_rng(0)
    joints = len(kinematics.lower)
    kinematics.inverse(*kinematics.forward(kinematics.upper), kinematics.posture)  # fill the table
    spent, reached = [], 0
    for q in rng.uniform(kinematics.lower, kinematics.upper, (POSES, joints)):
        target = kinematics.forward(q)
        seed = q + rng.uniform(-NEARBY_RAD, NEARBY_RAD, joints) if nearby else kinematics.posture
        wall, cpu = time.perf_counter(), time.thread_time()
        found = kinematics.inverse(*target, seed)
        spent.append((1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - cpu)))
        reached += _is_there(kinematics, found, *target)
    return spent, reached


def _is_there(
    kinematics: Kinematics, found: IkResult, position: np.ndarray, quaternion: np.ndarray
) -> bool:
    """Tell whether joints bring the tool to a pose, by forward kinematics."""
    there, turned = kinematics.forward(found.q)
    turn = (Rotation.from_quat(turned).inv() * Rotation.from_quat(quaternion)).magnitude()
    return bool(np.linalg.norm(there - position) <= POSITION_M and turn <= ROTATION_RAD)


def _kinematics(name: str) -> Kinematics:
    embodiment = load_embodiment(shared_file('config', f'{name}_sim.yaml'))
    arm = embodiment.arms[embodiment.arm_names[0]]
    urdf = shared_file('resource', arm.urdf)
    return Kinematics(urdf, arm.tool_frame, arm.joint_names, posture=arm.home_rad)


def _times(spent: list[tuple[float, float]]) -> dict[str, float | str]:
    """Return the entry of a list of (wall, processor) milliseconds."""
    wall, cpu = np.percentile(spent, 99, axis=0).round(3).tolist()
    return {'ours': wall, 'unit': 'ms', 'n': len(spent), 'cpu': cpu}
