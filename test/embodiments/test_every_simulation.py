# SPDX-License-Identifier: Apache-2.0
"""Every *_sim.yaml: its robot executes random chunks within the limits, and holds still."""

import time

from counts import FULL
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='driving a simulation needs ROS')

from cell import apart_m, Client, moved, processes, ROOT
import rclpy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.control.spaces import make_model, make_space
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.chunk_queue import ChunkQueue
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.resources import shared_file
from xvla_ros.core.safety import SafetyGate
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.nodes.controller.condition import State

pytestmark = pytest.mark.ros
FILES = sorted((ROOT / 'config').glob('*_sim.yaml'))
DURATION_S = 20.0 if FULL else 3.0
ANCHORS = 30
PACE = 1 / 3  # of the speed limits
WINDOW_S = 0.1  # speeds are means over this time
# A simulation that loses time stops, and its stamps jump. Its servos then catch up with the
# targets, as those of a real driver that hung would. The tool's speed is not checked meanwhile.
CATCH_UP_S = 0.3
# In a hold a tool moves less than STAYS_M from BRAKING_S after the hold began.
STAYS_M, BRAKING_S = 0.002, 0.2
AWAY_RAD = -0.25  # how far joints are led away
STATE_S = 0.02  # two periods of the states: older states may still arrive after a scene began


class Joints:
    """Records one arm's measured joints and computes its tool's positions."""

    def __init__(self, client, name):
        arm = client.embodiment.arms[name]
        urdf = shared_file('resource', arm.urdf)
        self.kinematics = Kinematics(urdf, arm.tool_frame, arm.joint_names)
        self.rows, self.names = [], arm.joint_names
        self._subscription = client.node.create_subscription(
            JointState, arm.joint_states_topic, self._store, 50
        )

    def _store(self, message):
        values = dict(zip(message.name, message.position, strict=True))
        stamp_s = stamp_to_ns(message.header.stamp) * 1e-9
        self.rows.append((stamp_s, *(values[n] for n in self.names)))

    def measured(self):
        """Return times (T,) [s], joints (T, n) [rad] and tool positions (T, 3) [m]."""
        table = np.array(self.rows)
        tools = np.array([self.kinematics.forward(q)[0] for q in table[:, 1:]])
        return table[:, 0], table[:, 1:], tools


def velocities(times, values):
    """Return mean velocities over WINDOW_S or more, and the time at which each window begins."""
    later = np.searchsorted(times, times + WINDOW_S)
    first = np.flatnonzero(later < len(times))
    elapsed_s = times[later[first]] - times[first]
    return times[first], (values[later[first]] - values[first]) / elapsed_s[:, None]


def punctual(begins, times, period_s):
    """Return which windows contain no lost time and do not follow it directly."""
    lost = times[1:][np.diff(times) > 1.5 * period_s]
    since = begins[:, None] - lost
    return ((since < -WINDOW_S - period_s) | (since > CATCH_UP_S)).all(axis=1)


class Wanderer:
    """Makes chunks that lead every tool from point to point above its block area."""

    def __init__(self, embodiment, start, rng):
        self._embodiment, self._rng = embodiment, rng
        self._start, self._at = start, start
        self._aims = [self._aim(i) for i in range(len(start))]

    def _aim(self, index):
        name = self._embodiment.arm_names[index]
        place = self._embodiment.sim.arms[name]
        x, y = self._rng.uniform(place.block_min_m, place.block_max_m)
        z = self._rng.uniform(0.08, 0.22) - place.base_position_m[2]
        turn = Rotation.from_rotvec(self._rng.uniform(-0.15, 0.15, 3))
        turned = (turn * Rotation.from_quat(self._start[index].quaternion)).as_quat()
        return np.array([x, y, z]), turned

    def _towards(self, index, pose, period_s):
        """Return a pose one period nearer to the aim, at PACE of the limits."""
        limits = self._embodiment.limits
        position, quaternion = self._aims[index]
        way = position - pose.position
        step = min(
            1.0, PACE * limits.max_linear_speed_m_s * period_s / max(np.linalg.norm(way), 1e-9)
        )
        if step == 1.0:
            self._aims[index] = self._aim(index)
        here = Rotation.from_quat(pose.quaternion)
        turn = (Rotation.from_quat(quaternion) * here.inv()).as_rotvec()
        share = min(
            step, PACE * limits.max_angular_speed_rad_s * period_s / (np.linalg.norm(turn) + 1e-9)
        )
        turned = (Rotation.from_rotvec(share * turn) * here).as_quat()
        opening = float(self._rng.random() < 0.5) if step == 1.0 else pose.gripper
        return ArmPose(position=pose.position + step * way, quaternion=turned, gripper=opening)

    def chunk(self, at, stamp_ns, sequence):
        """Return a chunk that begins at the tool poses `at`."""
        policy = self._embodiment.policy
        rows, poses = [], at
        for _ in range(ANCHORS):
            poses = [self._towards(i, p, policy.anchor_period_s) for i, p in enumerate(poses)]
            # The gripper of a tool is NaN when it keeps its opening, as after engaging.
            rows.append(np.nan_to_num(pack(poses, policy.rotation_6d_layout)))
        return Chunk(
            stamp_ns=stamp_ns,
            period_s=policy.anchor_period_s,
            actions=np.array(rows),
            sequence=sequence,
        )


class JointWanderer:
    """Makes chunks that lead the joints of every arm from place to place around home."""

    SPAN_RAD, STEP_RAD_S = 0.12, 0.4

    def __init__(self, embodiment, start, rng):
        self._embodiment, self._rng = embodiment, rng
        homes = [arm.home_rad for arm in embodiment.arms.values()]
        self._homes = [np.array(home) for home in homes]
        self._aims = [self._aim(home) for home in self._homes]

    def _aim(self, home):
        return home + self._rng.uniform(-self.SPAN_RAD, self.SPAN_RAD, len(home))

    def chunk(self, at, stamp_ns, sequence):
        """Return a chunk that begins at the joints of the arms `at`."""
        period_s, rows = self._embodiment.policy.anchor_period_s, []
        joints, opening = [arm.joints for arm in at], self._rng.random()
        for _ in range(ANCHORS):
            for index, (q, aim) in enumerate(zip(joints, self._aims, strict=True)):
                way = aim - q
                share = min(1.0, self.STEP_RAD_S * period_s / max(np.abs(way).max(), 1e-9))
                joints[index] = q + share * way
                if share == 1.0:
                    self._aims[index] = self._aim(self._homes[index])
            rows.append(np.concatenate([np.append(q, opening) for q in joints]))
        return Chunk(
            stamp_ns=stamp_ns,
            period_s=period_s,
            actions=np.array(rows),
            sequence=sequence,
            joint_counts=self._embodiment.joint_counts,
        )


def drive(client, count, rng):
    """Send `count` targets as the policy does: new chunks in time, through gate and queue."""
    embodiment = client.embodiment
    control = embodiment.control
    gate, start = SafetyGate(embodiment, make_model(embodiment)), client.tools()
    space = make_space(embodiment)
    wanders = JointWanderer if embodiment.joint_space else Wanderer
    wanderer = wanders(embodiment, start, rng)
    period_s = 1.0 / control.rate_hz
    renewed_s = min(1.0, 0.6 * ANCHORS * embodiment.policy.anchor_period_s)
    begin = deadline = time.monotonic()
    queue, next_chunk, holds, sequence, sent = None, begin, -1, 0, 0
    while sent < count:
        assert time.monotonic() - begin < 10 * DURATION_S, f'{sent} of {count}: {client.status}'
        now_ns = client.now_ns()
        if client.count('holds') != holds:  # also when this machine had no time for a target
            holds, next_chunk = client.count('holds'), begin
            queue = ChunkQueue(space=space)
            queue.engage(client.tools(), now_ns)
            gate.reset()
        if time.monotonic() >= next_chunk:
            sequence, next_chunk = sequence + 1, time.monotonic() + renewed_s
            at = queue.take(now_ns) or client.tools()
            verdict = gate.check(wanderer.chunk(at, now_ns, sequence), client.tools())
            if verdict.reasons == ('first_step',):  # the robot stood still meanwhile: engage anew
                holds = -1
                continue
            assert verdict.accepted, verdict.message
            assert queue.put(verdict.chunk, now_ns)
        targets = queue.take(now_ns)
        step = targets and gate.check_step(targets, client.tools(), period_s)
        if step:
            assert step.accepted, step.message
            client.send(step.targets, now_ns)
            sent += 1
        deadline = max(deadline + period_s, time.monotonic())  # bursts would be dropped
        client.spin(max(deadline - time.monotonic(), 0.003))


@pytest.fixture(scope='module')
def ros():
    rclpy.init()
    yield
    rclpy.try_shutdown()


def turned_rad(some, others):
    """Return the largest turn of a joint between two states of the arms; 0 when not known."""
    pairs = [(a.joints, b.joints) for a, b in zip(some, others, strict=True)]
    return max(float(np.abs(a - b).max()) if a is not None else 0.0 for a, b in pairs)


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_random_chunks_within_the_limits_are_executed_within_the_limits(ros, file):
    with processes(file):
        client = Client(file)
        client.wait_until_ready()
        start = client.tools()
        joints = {name: Joints(client, name) for name in client.embodiment.arm_names}
        executed = client.count('executed')
        count = round(DURATION_S * client.embodiment.control.rate_hz)
        drive(client, count, np.random.default_rng(0))
        client.wait_for_state('holding')
        stopped = client.wait_until_still()
        assert client.count('executed') - executed > 0.5 * count  # all on an idle machine
        assert not [t.reason for t in client.statuses if 'limits:' in t.reason]
        assert apart_m(stopped, start) > 0.005 or turned_rad(stopped, start) > 0.02
        check_limits(client.embodiment, joints)
        client.close()


class Tools:
    """Records the tool positions of all arms."""

    def __init__(self, client):
        self._joints = [Joints(client, name) for name in client.embodiment.arm_names]

    def moved_m(self, since_s, until_s=np.inf):
        """Return the largest distance of a tool from its position at `since_s` [m]."""
        return max(self._moved_m(joints, since_s, until_s) for joints in self._joints)

    @staticmethod
    def _moved_m(joints, since_s, until_s):
        times, _, tools = joints.measured()
        tools = tools[(times >= since_s) & (times <= until_s)]
        return np.linalg.norm(tools - tools[0], axis=1).max()

    def seen_until(self, time_s):
        return all(joints.rows and joints.rows[-1][0] >= time_s for joints in self._joints)


def lead_away(client):
    """Make all arms move at their speed limit, and return while they move."""
    start = client.tools()
    far = moved(start, by=(0.08, 0.0, -0.06))
    if client.embodiment.joint_space:
        space = make_space(client.embodiment)
        far = space.arms([(*(arm.joints + AWAY_RAD).tolist(), np.nan) for arm in start])
    client.wait(
        lambda: apart_m(client.tools(), start) > 0.02, 'motion', meanwhile=lambda: client.send(far)
    )


def hold(client, tools, duration_s):
    """Send holds for a time; return when the controller left MOVING [s]."""
    message, told = client.command(None), len(client.statuses)

    def begun_s():
        stamps = [s.header.stamp for s in client.statuses[told:] if s.state != State.MOVING]
        return stamp_to_ns(stamps[0]) * 1e-9 if stamps else np.inf

    client.wait(
        lambda: tools.seen_until(begun_s() + duration_s),
        'time',
        meanwhile=lambda: client.publish(message),
    )
    return begun_s()


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_the_arms_stay_where_they_are_during_a_hold(ros, file):
    """They also stay when a scene begins right after a hold, while commands still arrive."""
    with processes(file):
        client = Client(file)
        client.wait_until_ready()
        tools = Tools(client)
        lead_away(client)
        held_s = hold(client, tools, 2.0)
        assert tools.moved_m(held_s + BRAKING_S, held_s + 2.0) < STAYS_M
        lead_away(client)
        client.publish(client.command(None))
        client.set_scene(episode=1)
        begun_s = client.now_ns() * 1e-9
        hold(client, tools, 2.0)
        assert tools.moved_m(begun_s + STATE_S, begun_s + 2.0) < STAYS_M
        assert apart_m(client.tools(), client.home) < STAYS_M
        client.close()


def check_limits(embodiment, joints):
    """Check the measured motion of the arms, not their commands."""
    speed = embodiment.limits.max_linear_speed_m_s
    for name, recorded in joints.items():
        times, q, tools = recorded.measured()
        arm, kinematics = embodiment.arms[name], recorded.kinematics
        assert (tools > np.array(arm.workspace_min_m) - 0.005).all(), name
        assert (tools < np.array(arm.workspace_max_m) + 0.005).all(), name
        assert (q > kinematics.lower - 1e-3).all(), name
        assert (q < kinematics.upper + 1e-3).all(), name
        begins, joint_speeds = velocities(times, q)
        assert (np.abs(joint_speeds) < 1.05 * kinematics.velocity_limit).all(), name
        tool_speeds = np.linalg.norm(velocities(times, tools)[1], axis=1)
        judged = punctual(begins, times, 1 / embodiment.sim.state_rate_hz)
        assert judged.any(), name
        assert (tool_speeds[judged] < 1.05 * speed).all(), name
