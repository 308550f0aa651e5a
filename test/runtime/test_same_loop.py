# SPDX-License-Identifier: Apache-2.0
"""
The live node, a replay and an evaluation are one loop: the same inputs give the same targets.

The evaluation's run is recorded, and its inputs are given to the other two. The live node runs as
processes over DDS, on a /clock that waits for it: every tick and every answer is awaited before
time goes on, so that a loaded machine changes nothing.
"""

from array import array
from itertools import groupby
from pathlib import Path
import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='the live node needs ROS')

from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
import yaml  # noqa: E402

from xvla_ros.adapt.closed_loop import ClosedLoop, Conditions, noise_seed  # noqa: E402
from xvla_ros.bags.bag import open_bag  # noqa: E402
from xvla_ros.bags.chunks import arm_rows, chunk_rows  # noqa: E402
from xvla_ros.bringup import processes  # noqa: E402
from xvla_ros.bringup.runner import Runner  # noqa: E402
from xvla_ros.control.spaces import make_space  # noqa: E402
from xvla_ros.core.embodiment import load_embodiment, read_parameter_file  # noqa: E402
from xvla_ros.core.resources import shared_file  # noqa: E402
from xvla_ros.inputs.messages import stamp_to_ns  # noqa: E402
from xvla_ros.model.loading import load_policy  # noqa: E402
from xvla_ros.msg import ActionChunk, EndEffectorCommand, PolicyStatus  # noqa: E402
from xvla_ros.nodes.common.conversions import ns_to_stamp  # noqa: E402
from xvla_ros.replay.options import Options  # noqa: E402
from xvla_ros.replay.results import read_table, read_verdicts  # noqa: E402
from xvla_ros.replay.run import replay_deterministic  # noqa: E402
from xvla_ros.runtime.inference_loop import InferenceLoop  # noqa: E402
from xvla_ros.runtime.intake import FIRST_CHUNK  # noqa: E402
from xvla_ros.runtime.predictor import facts_of  # noqa: E402
from xvla_ros.runtime.simulated import FixedLatency  # noqa: E402
from xvla_ros.sim.scenes import EVALUATE, sample_scene  # noqa: E402
from xvla_ros.testing.simulated_bag import record_simulation, Simulation, START_NS  # noqa: E402
from xvla_ros.testing.still_policy import write_still  # noqa: E402

pytestmark = pytest.mark.ros
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SECONDS, REPLAN_S, TICK_NS, MS = 3.0, 0.2, 20_000_000, 1_000_000
# An answer is there right after the tick of its observation: live, time waits for it.
AT_ONCE_S = 1e-9
TOLERANCE = 1e-9
CONDITIONS = Conditions(limit_s=SECONDS, latency_s=AT_ONCE_S, replan_s=REPLAN_S, steps=2)
PATIENCE_S, START_S = 60.0, 200.0
# The node gets ready on images from up to this long before the run. They stay younger than the
# cameras' limit: an image that is too old would make the node hold and refuse the first chunk.
LEAD_NS, AGE_S = 4_000 * MS, 5.0
VERDICTS = {
    ActionChunk.VERDICT_ACCEPTED: 'accepted',
    ActionChunk.VERDICT_CLAMPED: 'clamped',
    ActionChunk.VERDICT_REJECTED: 'rejected',
}
KINDS = {kind.__name__: kind for kind in (PoseStamped, JointState, Image)}


class Said:
    """What a driver did: targets (arms, 8) or None by tick, chunks (T, arms, 8), verdicts."""

    def __init__(self, embodiment):
        self.layout, self.arms = embodiment.policy.rotation_6d_layout, len(embodiment.arm_names)
        self.space = make_space(embodiment)
        self.targets, self.chunks, self.verdicts = {}, {}, {}

    def send(self, command, now_ns):
        self.targets[now_ns] = None if command.targets is None else arm_rows(command.targets)

    def show(self, judged):
        chunk, verdict = judged.chunk, judged.verdict
        self.chunks[chunk.stamp_ns] = chunk_rows(chunk, self.layout, self.arms, self.space)
        accepted = 'clamped' if verdict.reasons else 'accepted'
        self.verdicts[chunk.stamp_ns] = accepted if verdict.accepted else 'rejected'


@pytest.fixture(scope='module', params=['franka_sim.yaml', 'so101_sim.yaml'])
def file(request):
    """Return the file of a robot of tool poses, and of one of joints."""
    return shared_file('config', request.param)


@pytest.fixture(scope='module')
def scene(file):
    return sample_scene(load_embodiment(file), EVALUATE, 0, 0)


@pytest.fixture(scope='module')
def checkpoint(file, tmp_path_factory):
    """Return the demo policy; for joints a small one that always answers the same."""
    embodiment = load_embodiment(file)
    if not embodiment.joint_space:
        return shared_file('resource', 'demo_policy')
    return write_still(tmp_path_factory.mktemp('checkpoint'), embodiment, (0.0, 0.0, 0.0))


@pytest.fixture(scope='module')
def parameters(file, scene, checkpoint, tmp_path_factory):
    """Write the robot's parameters for all three, and return the file."""
    parameters = read_parameter_file(file)
    parameters['policy']['checkpoint'] = str(checkpoint)
    parameters['policy'] |= {'seed': noise_seed(CONDITIONS, scene), 'denoising_steps': 2}
    if load_embodiment(file).joint_space:  # as LeRobot trains: at the observation's stamp
        parameters['policy']['first_anchor_index'] = 0
    parameters['control'] |= {'replan_period_s': REPLAN_S, 'max_skew_s': AGE_S}
    for camera in parameters['cameras'].values():
        camera['max_age_s'] = AGE_S
    parameters['sim'] |= {'image_width': 96, 'image_height': 72}
    written = tmp_path_factory.mktemp('robot') / file.name
    written.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False))
    return written


@pytest.fixture(scope='module')
def policy(checkpoint):
    return load_policy(checkpoint)


@pytest.fixture(scope='module')
def evaluated(parameters, policy, scene):
    """Run `xvla evaluate`'s loop."""
    embodiment = load_embodiment(parameters)
    said = Said(embodiment)
    ClosedLoop(embodiment, policy, CONDITIONS, said).run(scene, START_NS)
    return said


@pytest.fixture(scope='module')
def bag(parameters, policy, tmp_path_factory):
    """Record the same run, with its images as they are."""
    embodiment = load_embodiment(parameters)
    folder = tmp_path_factory.mktemp('bag') / 'run'
    simulation = Simulation(
        seconds=SECONDS, camera_rate_hz=1 / REPLAN_S, size=(96, 72), episode_s=SECONDS + 1
    )

    def make(inputs, clock, send):
        facts = facts_of(policy)
        return InferenceLoop(embodiment, policy, facts, inputs, clock, send)

    answers = (make, FixedLatency(AT_ONCE_S, REPLAN_S))
    record_simulation(folder, parameters.read_text(), simulation, answers)
    return open_bag(folder)


@pytest.fixture(scope='module')
def replayed(bag, checkpoint, tmp_path_factory):
    """Run `xvla replay --deterministic`."""
    out = tmp_path_factory.mktemp('replayed')
    options = Options(checkpoint=checkpoint, latency_s=AT_ONCE_S)
    said = Said(replay_deterministic(bag.path, out, options).embodiment)
    table = read_table(out / 'targets.csv')
    for stamp_ns, hold, rows in zip(table.stamps_ns, table.third, table.values, strict=True):
        said.targets[int(stamp_ns)] = None if hold else rows
    chunks, (_, _, verdicts) = read_table(out / 'chunks.csv'), read_verdicts(out)
    for sequence in np.unique(chunks.sequence):
        mine = chunks.sequence == sequence
        stamp_ns = int(chunks.stamps_ns[mine][0])
        said.chunks[stamp_ns] = chunks.values[mine]
        said.verdicts[stamp_ns] = verdicts[int(sequence)]
    return said


class Live:
    """The policy node in processes of its own, and a robot whose time waits for it."""

    def __init__(self, bag, embodiment):
        self.said = Said(embodiment)
        self.node = rclpy.create_node('robot')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.status = PolicyStatus()
        self.kinds = {
            name: KINDS.get(topic.kind.split('/')[-1]) for name, topic in bag.topics.items()
        }
        inputs = {c.topic for c in embodiment.cameras.values()}
        for arm in embodiment.arms.values():
            inputs |= {arm.joint_states_topic, arm.pose_topic}
        self.publishers = {
            name: self.node.create_publisher(kind, name, qos_profile_sensor_data)
            for name, kind in self.kinds.items()
            if kind and name.lstrip('/') in inputs
        }
        self.clock = self.node.create_publisher(Clock, '/clock', 1)
        self.instruction = self.node.create_publisher(String, 'instruction', LATCHED)
        self.arm = self.node.create_client(SetBool, 'policy_node/arm')
        subscribe = self.node.create_subscription
        subscribe(EndEffectorCommand, 'policy_node/target', self.on_target, 100)
        subscribe(ActionChunk, 'policy_node/action_chunk', self.on_chunk, 100)
        subscribe(PolicyStatus, 'policy_node/status', self.on_status, LATCHED)
        messages = list(bag.messages(self.publishers))
        self.instants = [(ns, list(g)) for ns, g in groupby(messages, lambda raw: raw.time_ns)]
        self.now_ns = START_NS - 3_600 * 1000 * MS

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()

    def on_status(self, message):
        self.status = message

    def on_target(self, message):
        rows = [row(target) for target in message.targets]
        self.said.targets[stamp_to_ns(message.header.stamp)] = (
            None if message.hold else np.array(rows)
        )

    def on_chunk(self, message):
        stamp_ns = stamp_to_ns(message.header.stamp)
        self.said.chunks[stamp_ns] = np.array(
            [[row(target) for target in step.targets] for step in message.steps]
        )
        self.said.verdicts[stamp_ns] = VERDICTS[message.verdict]

    def publish(self, raws, stamp_ns=None):
        for raw in raws:
            message = deserialize_message(raw.data, self.kinds[raw.topic])
            if stamp_ns is not None:
                message.header.stamp = ns_to_stamp(stamp_ns)
            if isinstance(message, Image):
                message.data = array('B', bytes(message.data))
            self.publishers[raw.topic].publish(message)

    def set_clock(self, now_ns):
        self.now_ns = now_ns
        self.clock.publish(Clock(clock=ns_to_stamp(now_ns)))

    def spin(self, seconds=0.02):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def wait(self, condition, what, meanwhile=lambda: None, patience_s=PATIENCE_S):
        until = time.monotonic() + patience_s
        while not condition():
            status = f'{self.status.state} {self.status.message}'
            assert time.monotonic() < until, f'{what}: not within {patience_s} s; {status}'
            meanwhile()
            self.spin()

    def idle(self, images=True, step_ns=MS):
        """Let a little time pass in which the arms rest where they are at first."""
        arms = [raw for raw in self.instants[0][1] if 'camera' not in raw.topic]
        cameras = [raw for raw in self.instants[0][1] if 'camera' in raw.topic]
        self.publish(arms, self.now_ns + step_ns)
        self.set_clock(self.now_ns + step_ns)
        if images and not self.now_ns // MS % 20:
            self.publish(cameras, self.now_ns)
            self.seen_ns = self.now_ns

    def get_ready(self, instruction):
        """Have the node loaded, armed, without a plan and waiting for its first observation."""
        self.wait(lambda: self.status.header.stamp.sec, 'the node', self.idle, START_S)
        self.instruction.publish(String(data=instruction))
        dry = PolicyStatus.STATE_DRY_RUN
        self.wait(lambda: self.status.state == dry, 'a dry run', self.idle, START_S)
        self.set_clock(START_NS - LEAD_NS)
        self.wait(lambda: self.seen_ns > START_NS - LEAD_NS, 'a new image', self.idle)
        rest = lambda: self.idle(images=False)  # noqa: E731
        self.wait(lambda: self.seen_ns in self.said.chunks, 'the last answer', rest)
        self.instruction.publish(String(data=''))
        self.wait(lambda: self.status.state == PolicyStatus.STATE_IDLE, 'idleness', rest)
        armed = self.arm.call_async(SetBool.Request(data=True))
        self.wait(armed.done, 'arming', rest)
        self.instruction.publish(String(data=instruction))
        self.wait(lambda: self.status.message == FIRST_CHUNK.text, 'readiness', rest)
        # In small steps: after a long one, a pose that comes after the clock makes the node hold
        # and drop the first chunk.
        while self.now_ns < START_NS - 2 * TICK_NS:
            self.idle(images=False, step_ns=TICK_NS)
            self.spin(0.005)
        self.wait(lambda: self.status.message == FIRST_CHUNK.text, 'readiness', rest)
        assert self.now_ns < START_NS, 'getting ready took too long'

    def run(self):
        """Give the inputs of every instant, and wait for what the node makes of them."""
        for time_ns, raws in self.instants:
            self.publish([raw for raw in raws if 'camera' not in raw.topic])
            if (time_ns - START_NS) % TICK_NS:
                continue
            self.spin(0.01)
            self.set_clock(time_ns)
            self.wait(lambda ns=time_ns: ns in self.said.targets, f'the tick at {time_ns}')
            cameras = [raw for raw in raws if 'camera' in raw.topic]
            if cameras:
                self.publish(cameras)
                answered = lambda ns=time_ns: ns in self.said.chunks  # noqa: E731
                self.wait(answered, f'the answer to {time_ns}')


def row(target):
    p, q = target.pose.position, target.pose.orientation
    return (p.x, p.y, p.z, q.x, q.y, q.z, q.w, target.gripper)


@pytest.fixture(scope='module')
def live(bag, parameters, scene, tmp_path_factory):
    """Run the policy node over DDS."""
    rclpy.init()
    live = Live(bag, load_embodiment(parameters))
    overrides = {'control.start_armed': False, 'control.worker_timeout_s': 10.0}
    (process,) = [
        p for p in processes(Path(parameters), sim=False, overrides=overrides)
        if p.name == 'policy_node'
    ]  # fmt: skip
    with Runner(tmp_path_factory.mktemp('log')) as runner:
        runner.start(process)
        live.get_ready(scene.instruction)
        live.run()
    live.close()
    rclpy.try_shutdown()
    return live.said


def differ(one, other, begin_ns=START_NS):
    """Return the largest difference of targets and chunks; holds and verdicts must be equal."""
    ticks = sorted(set(one.targets) & set(other.targets))
    seen = sorted(set(one.chunks) & set(other.chunks))
    ticks, seen = ([ns for ns in each if ns >= begin_ns] for each in (ticks, seen))
    assert len(ticks) >= 100
    assert len(seen) >= 10
    moving = [ns for ns in ticks if one.targets[ns] is not None]
    assert len(moving) >= 90
    assert [other.targets[ns] is None for ns in ticks] == [one.targets[ns] is None for ns in ticks]
    assert [other.verdicts[ns] for ns in seen] == [one.verdicts[ns] for ns in seen]
    pairs = [(one.targets[ns], other.targets[ns]) for ns in moving]
    # Openings of joint-space plans are continuous, and a message has them as float32.
    continuous = bool(one.space.joint_counts)
    grippers = ([a[:, 7] for a, _ in pairs], [b[:, 7] for _, b in pairs])
    np.testing.assert_allclose(*grippers, rtol=0, atol=1e-6 if continuous else 0)
    pairs += [(one.chunks[ns], other.chunks[ns]) for ns in seen]
    last = 7 if continuous else 8
    return max(float(np.abs(a - b)[..., :last].max()) for a, b in pairs)


def test_same_loop_evaluation_and_replay(evaluated, replayed):
    assert differ(evaluated, replayed) <= TOLERANCE


def test_same_loop_live_node_and_evaluation(evaluated, live):
    assert differ(evaluated, live) <= TOLERANCE


def test_same_loop_live_node_and_replay(replayed, live):
    assert differ(replayed, live) <= 2 * TOLERANCE


def test_the_robot_moved(evaluated):
    path = np.array([rows[0, :3] for rows in evaluated.targets.values() if rows is not None])
    assert np.linalg.norm(path[-1] - path[0]) > 0.05
