# SPDX-License-Identifier: Apache-2.0
"""
A real policy node in a process of its own, over DDS, and the robot's side of its topics.

The rig publishes what a Franka's drivers and cameras publish and follows the targets it gets;
tests break one stream after the other. The checkpoint is a real, small X-VLA whose last layer
always answers the same pose, so that where the arm goes is known.
"""

from array import array
from collections import deque
from pathlib import Path
import threading
import time

import pytest

rclpy = pytest.importorskip('rclpy', reason='the policy node needs ROS')

from geometry_msgs.msg import PoseStamped  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402

from xvla_ros.action import RunTask  # noqa: E402
from xvla_ros.bringup import processes  # noqa: E402
from xvla_ros.bringup.runner import Runner  # noqa: E402
from xvla_ros.core.ee6d import ArmPose  # noqa: E402
from xvla_ros.core.embodiment import load_embodiment  # noqa: E402
from xvla_ros.core.resources import shared_file  # noqa: E402
from xvla_ros.inputs.messages import stamp_to_ns  # noqa: E402
from xvla_ros.msg import ActionChunk, EndEffectorCommand, PolicyStatus  # noqa: E402
from xvla_ros.nodes.common.conversions import ns_to_stamp, pose_to_message  # noqa: E402
from xvla_ros.runtime.home import home_poses  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EMBODIMENT = 'franka_sim.yaml'
STATE_RATE_HZ, CAMERA_RATE_HZ, IMAGE_PX = 100.0, 15.0, 64
# Where the small policy always wants to go, from home: near enough to pass the first-step rule.
AWAY_M = (0.0, 0.06, -0.06)
ANCHOR_PERIOD_S = 0.15
# Slow enough that the arm is on its way for seconds.
OVERRIDES = {
    'limits.max_linear_speed_m_s': 0.02,
    'control.deadman_topic': 'deadman',
    'control.engage_s': 0.2,
    'policy.seed': 7,
    # Long chunks and no lower priority: a loaded machine must not starve what is tested here.
    'policy.anchor_period_s': ANCHOR_PERIOD_S,
    'policy.nice': 0,
    # Nor must the gaps that it tears into what this process publishes hold the robot.
    **dict.fromkeys(
        (
            'arms.arm.max_age_s',
            'cameras.main.max_age_s',
            'cameras.wrist.max_age_s',
            'control.max_skew_s',
            'control.deadman_timeout_s',
        ),
        1.0,
    ),
}
START_S, SOON_S = 120.0, 20.0


class Rig:
    """Franka's topics. Attributes break them: tests set one, look, and call `heal`."""

    def __init__(self, context):
        self.embodiment = load_embodiment(shared_file('config', EMBODIMENT), OVERRIDES)
        self.arm = self.embodiment.arms['arm']
        self.node = rclpy.create_node('rig')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.home = home_poses(self.embodiment)[0]
        self.statuses, self.targets, self.chunks = (
            deque(maxlen=500),
            deque(maxlen=5000),
            deque(maxlen=50),
        )
        self.stop = threading.Event()
        self.since_ns = 0  # what was said before is not listened to
        self._publishers()
        subscribe = self.node.create_subscription
        subscribe(PolicyStatus, 'policy_node/status', self._on_status, LATCHED)
        subscribe(EndEffectorCommand, 'policy_node/target', self._on_target, 10)
        subscribe(ActionChunk, 'policy_node/action_chunk', lambda m: self.chunks.append(m), 10)
        self.tasks = ActionClient(self.node, RunTask, 'policy_node/run_task')
        self.heal()
        self.pose = self.home
        self.threads = [
            threading.Thread(target=t, daemon=True) for t in (self._spin, self._publish)
        ]
        for thread in self.threads:
            thread.start()

    def _publishers(self):
        make = self.node.create_publisher
        self.instruction = make(String, 'instruction', LATCHED)
        self.estop = make(Bool, 'estop', 10)
        self.deadman = make(Bool, 'deadman', 1)
        self.poses = make(PoseStamped, self.arm.pose_topic, qos_profile_sensor_data)
        self.joints = make(JointState, self.arm.joint_states_topic, qos_profile_sensor_data)
        self.images = {
            name: make(Image, camera.topic, qos_profile_sensor_data)
            for name, camera in self.embodiment.cameras.items()
        }
        self.shown_ns = {}  # stamp of the last image of each camera

    def heal(self):
        """Publish everything as it should be."""
        self.cameras = set(self.images)
        self.encoding, self.frame = 'rgb8', self.arm.base_frame
        self.camera_shift_s = self.arm_shift_s = 0.0
        self.joint_names = [*self.arm.joint_names, *self.arm.gripper.joint_names]
        self.finger_m = 0.04
        self.arm_alive = self.held = True
        self.pressed = False  # the e-stop; None: it says nothing

    def close(self):
        """Leave the domain."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.node.destroy_node()

    def _spin(self):
        while not self.stop.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def _on_status(self, message):
        if stamp_to_ns(message.header.stamp) >= self.since_ns:
            self.statuses.append(message)

    def _on_target(self, message):
        self.targets.append((time.monotonic(), message))
        if not message.hold:
            p, q = message.targets[0].pose.position, message.targets[0].pose.orientation
            self.pose = ArmPose(
                position=(p.x, p.y, p.z), quaternion=(q.x, q.y, q.z, q.w), gripper=1.0
            )

    def _publish(self):
        every = round(STATE_RATE_HZ / CAMERA_RATE_HZ)
        pixels = array('B', bytes(IMAGE_PX * IMAGE_PX * 3))
        count = 0
        while not self.stop.wait(1 / STATE_RATE_HZ):
            count += 1
            if self.arm_alive:
                self._publish_arm()
            if count % every == 0:
                self.deadman.publish(Bool(data=self.held))
                if self.pressed is not None:
                    self.estop.publish(Bool(data=self.pressed))
                for name in tuple(self.cameras):
                    image = Image(
                        height=IMAGE_PX, width=IMAGE_PX, step=3 * IMAGE_PX, encoding=self.encoding
                    )
                    image.header.stamp, image.data = self._stamp(self.camera_shift_s), pixels
                    self.shown_ns[name] = stamp_to_ns(image.header.stamp)
                    self.images[name].publish(image)

    def _publish_arm(self):
        pose = PoseStamped(pose=pose_to_message(self.pose.position, self.pose.quaternion))
        pose.header.stamp, pose.header.frame_id = self._stamp(self.arm_shift_s), self.frame
        self.poses.publish(pose)
        names = list(self.joint_names)
        at_home = dict(zip(self.arm.joint_names, self.arm.home_rad, strict=True))
        positions = [at_home.get(name, self.finger_m) for name in names]
        joints = JointState(name=names, position=positions)
        joints.header.stamp = pose.header.stamp
        self.joints.publish(joints)

    def _stamp(self, shift_s):
        return ns_to_stamp(self.now_ns() + round(shift_s * 1e9))

    def now_ns(self):
        """Return the time that stamps are taken from."""
        return self.node.get_clock().now().nanoseconds

    # What tests ask

    def forget(self):
        """Hear nothing more of what was said until now, however late it comes."""
        self.since_ns = self.now_ns()
        self.statuses.clear()

    @property
    def status(self):
        """Return the last status heard."""
        return self.statuses[-1] if self.statuses else PolicyStatus(message='no status yet')

    def wait(self, condition, timeout_s=SOON_S, what=''):
        """Wait for a condition; fail with what the policy last said."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f'{what or "condition"}; status: {self.status}'
            time.sleep(0.005)

    def wait_state(self, *states, timeout_s=SOON_S, saying=''):
        """Wait for one of the states, with words in its message."""
        self.wait(
            lambda: self.status.state in states and saying in self.status.message,
            timeout_s,
            f'state {states} saying {saying!r}',
        )

    def moving(self, within_s=0.2):
        """Tell whether targets to follow came lately."""
        since = time.monotonic() - within_s
        return any(when > since and not m.hold for when, m in tuple(self.targets))

    def sent(self, after_ns):
        """Return (stamp [ns], whether it is a hold) of the targets sent after a time."""
        stamped = [(stamp_to_ns(m.header.stamp), m.hold) for _, m in tuple(self.targets)]
        return [(ns, hold) for ns, hold in stamped if ns > after_ns]

    def send(self, request):
        """
        Call a function that sends a request of an action, and return its future.

        In the thread that takes the answers: one that comes first is dropped by rclpy (7.1.6).
        """
        sending = self.executor.create_task(request)
        self.wait(sending.done, what='a request to be sent')
        return sending.result()

    def call(self, kind, name, request, timeout_s=SOON_S):
        """Call a service of the policy node."""
        client = self.node.create_client(kind, f'policy_node/{name}')
        assert client.wait_for_service(timeout_s), f'no service {name}'
        future = client.call_async(request)
        self.wait(future.done, timeout_s, f'{name} to answer')
        self.node.destroy_client(client)
        return future.result()

    def start_task(self, instruction='pick up the red block', timeout_s=0.0):
        """Send a goal; return its handle, or None when it was refused."""
        assert self.tasks.wait_for_server(SOON_S)
        goal = RunTask.Goal(instruction=instruction)
        goal.timeout.sec, goal.timeout.nanosec = int(timeout_s), int(timeout_s % 1 * 1e9)
        sent = self.send(lambda: self.tasks.send_goal_async(goal))
        self.wait(sent.done, what='the goal to be answered')
        return sent.result() if sent.result().accepted else None


@pytest.fixture(scope='module')
def rig(ros_context):
    rig = Rig(ros_context)
    yield rig
    rig.close()


@pytest.fixture(scope='session')
def still_policy(tmp_path_factory):
    """Write a real checkpoint that always answers the pose AWAY_M from home, gripper open."""
    from xvla_ros.testing.still_policy import write_still

    embodiment = load_embodiment(shared_file('config', EMBODIMENT))
    return write_still(tmp_path_factory.mktemp('still'), embodiment, AWAY_M)


@pytest.fixture(scope='module')
def start_policy(rig, tmp_path_factory):
    """Start policy nodes with parameter overrides; all end with the module."""
    runners = []

    def start(overrides, embodiment=None, environment=None):
        rig.forget()
        path = Path(embodiment) if embodiment else shared_file('config', EMBODIMENT)
        # The rig stamps by the system's clock.
        given = {'use_sim_time': False, **overrides}
        table = {p.name: p for p in processes(path, sim=False, overrides=given)}
        runner = Runner(tmp_path_factory.mktemp('log'), environment)
        runners.append(runner)
        runner.start(table['policy_node'])
        return runner

    yield start
    for runner in runners:
        runner.stop()


@pytest.fixture(scope='module')
def overrides(still_policy):
    """Parameters that suit the rig."""
    return {'policy.checkpoint': str(still_policy), **OVERRIDES}


@pytest.fixture(scope='module')
def policy(rig, start_policy, overrides):
    """Run one policy node for all tests of a module."""
    runner = start_policy(overrides)
    rig.wait(lambda: rig.status.ticks > 0, START_S, 'the policy to be active')
    return runner


@pytest.fixture
def running(rig, policy):
    """Have the policy move the arm from home; heal everything afterwards."""
    rig.heal()
    rig.instruction.publish(String(data=''))
    rig.wait_state(PolicyStatus.STATE_IDLE)
    rig.pose = rig.home
    rig.instruction.publish(String(data='pick up the red block'))
    rig.wait_state(PolicyStatus.STATE_RUNNING)
    rig.wait(rig.moving, what='targets')
    yield policy
    rig.heal()
