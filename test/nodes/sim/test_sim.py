# SPDX-License-Identifier: Apache-2.0
"""sim_node over real DDS: rates, stamps, images, scenes, and commands that it drops."""

import subprocess
import sys

from cell import Client, processes, ROOT
from checkout import with_checkout
from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.sim.frames import intrinsics

pytestmark = pytest.mark.ros
# Messages that come while this process does not run are lost. A longer period between messages is
# therefore not counted as the simulation's.
STANDSTILL_S = 0.25


class Seen:
    """Stores the messages of some topics, and their ages on arrival."""

    def __init__(self, client, kinds):
        self.messages = {topic: [] for topic in kinds}
        self.ages_s = {topic: [] for topic in kinds}
        self._client = client
        self._subscriptions = [
            client.node.create_subscription(k, t, self._store(t), qos_profile_sensor_data)
            for t, k in kinds.items()
        ]

    def _store(self, topic):
        def store(message):
            self.messages[topic].append(message)
            if hasattr(message, 'header'):
                stamp_ns = stamp_to_ns(message.header.stamp)
                self.ages_s[topic].append((self._client.now_ns() - stamp_ns) * 1e-9)

        return store


@pytest.fixture(scope='module')
def client(ros_context):
    config = ROOT / 'config' / 'franka_sim.yaml'
    with processes(config, ('sim_node',), ('-p', 'seed:=3', '-p', 'purpose:=train')):
        client = Client(config)
        client.wait(lambda: client.tools() is not None, 'arms are seen')
        yield client
        client.close()


def test_states_and_images_come_at_their_rates_with_fresh_stamps(client):
    kinds = {
        'joint_states': JointState,
        'current_pose': PoseStamped,
        'camera/main/image_raw': Image,
        'camera/wrist/image_raw': Image,
    }
    seen, expected = Seen(client, kinds), dict(zip(kinds, (100, 100, 15, 15), strict=True))
    client.wait(
        lambda: all(len(seen.messages[topic]) > 4.0 * rate for topic, rate in expected.items()),
        'all topics for 4 s',
    )
    for topic, rate in expected.items():
        stamps_ns = [stamp_to_ns(m.header.stamp) for m in seen.messages[topic]]
        periods_s = np.diff(stamps_ns) * 1e-9
        mean_s = periods_s[periods_s < STANDSTILL_S].mean()
        assert 0.75 * rate < 1 / mean_s < 1.1 * rate, (topic, mean_s)
        ages = np.array(seen.ages_s[topic])
        assert ages.min() >= 0
        assert np.median(ages) < 0.03, (topic, np.median(ages))


def test_images_are_rgb_of_the_configured_size_and_not_blank(client):
    seen = Seen(client, {'camera/main/image_raw': Image})
    client.wait(lambda: seen.messages['camera/main/image_raw'], 'image')
    image = seen.messages['camera/main/image_raw'][0]
    assert (image.encoding, image.height, image.width, image.step) == ('rgb8', 224, 224, 672)
    pixels = np.frombuffer(image.data, np.uint8).reshape(224, 224, 3)
    assert pixels.std() > 10


def test_each_image_has_intrinsics_with_its_stamp_and_frame(client):
    image, info = 'camera/main/image_raw', 'camera/main/camera_info'
    seen = Seen(client, {image: Image, info: CameraInfo})
    client.wait(lambda: len(seen.messages[info]) > 3 and len(seen.messages[image]) > 3, 'both')
    stamps = {stamp_to_ns(m.header.stamp) for m in seen.messages[image]}
    found = [m for m in seen.messages[info] if stamp_to_ns(m.header.stamp) in stamps]
    assert len(found) > 1
    assert found[0].header.frame_id == seen.messages[image][0].header.frame_id
    assert (found[0].width, found[0].height) == (224, 224)
    matrix = intrinsics(client.embodiment.sim.cameras['main'].fov_deg, 224, 224)
    assert np.allclose(np.reshape(found[0].k, (3, 3)), matrix)
    assert np.allclose(np.reshape(found[0].p, (3, 4))[:, :3], matrix)


def test_the_description_is_there_for_who_comes_later(client):
    texts, qos = [], QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(String, 'robot_description', texts.append, qos)
    client.wait(lambda: texts, 'description')
    assert texts[0].data == (ROOT / 'resource' / 'robots' / 'franka.urdf').read_text()


def test_tf_connects_every_frame_that_messages_name(client):
    kind = pytest.importorskip('tf2_msgs.msg', reason='tf2_msgs is not installed').TFMessage
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    fixed, moving = [], []
    client.node.create_subscription(kind, '/tf_static', fixed.append, latched)
    client.node.create_subscription(kind, '/tf', moving.append, 10)
    client.wait(lambda: fixed and moving, 'transforms')
    transforms = [*fixed[0].transforms, *moving[0].transforms]
    parents = {t.child_frame_id: t.header.frame_id for t in transforms}
    for frame in ('base', 'fr3_hand_tcp', 'main_optical_frame', 'wrist_optical_frame'):
        while frame != 'world':
            frame = parents[frame]


def test_joint_states_hold_the_arm_and_its_fingers_in_order(client):
    seen = Seen(client, {'joint_states': JointState})
    client.wait(lambda: seen.messages['joint_states'], 'state')
    arm = client.embodiment.arms['arm']
    assert (
        tuple(seen.messages['joint_states'][0].name) == arm.joint_names + arm.gripper.joint_names
    )


def _scene(client):
    """Return the next markers of the scene, by namespace."""
    seen = Seen(client, {'sim_node/scene': MarkerArray})
    client.wait(lambda: len(seen.messages['sim_node/scene']) > 1, 'scene')
    return {m.ns: m for m in seen.messages['sim_node/scene'][-1].markers}


def test_setting_the_episode_answers_when_the_scene_has_begun(client):
    from xvla_ros.sim.scenes import sample_scene, TRAIN

    for episode in (4, 5, 4):
        results = client.set_scene(episode=episode)
        assert all(r.successful for r in results)
        markers = _scene(client)
        expected = sample_scene(client.embodiment, TRAIN, 3, episode)
        assert markers['instruction'].text == expected.colour
        for block in expected.blocks:
            position = markers[f'block/{block.colour}'].pose.position
            assert abs(position.x - block.x_m) < 0.003
            assert abs(position.y - block.y_m) < 0.003


@pytest.mark.parametrize('wrong', [{'purpose': 'exam'}, {'episode': -1}, {'seed': -2}])
def test_an_unknown_scene_is_refused_with_the_known_purposes(client, wrong):
    (result,) = client.set_scene(**wrong)
    assert not result.successful
    assert 'train' in result.reason


def test_the_tool_marker_is_where_the_pose_topic_says(client):
    markers, pose = _scene(client), client.tools()[0]
    p = markers['tool/arm'].pose.position
    assert np.allclose([p.x, p.y, p.z], pose.position, atol=0.002)


def test_an_invalid_pose_moves_nothing(client):
    publisher = client.node.create_publisher(PoseStamped, 'target_pose', 1)
    client.wait(lambda: publisher.get_subscription_count() > 0, 'sim listens')
    start = client.tools()[0]
    message = PoseStamped()
    message.pose.position.x = float('nan')
    message.pose.orientation.w = 1.0
    publisher.publish(message)
    client.spin(0.5)
    assert np.allclose(client.tools()[0].position, start.position, atol=1e-3)
    client.node.destroy_publisher(publisher)


def run_until_it_ends(config, *command, **environment):
    return subprocess.run(
        [sys.executable, *command, '--ros-args', '--params-file', config],
        capture_output=True,
        text=True,
        timeout=60,
        env=with_checkout(**environment),
    )


def fatal(done):
    """Return the one fatal line that a node logged."""
    assert done.returncode == 2, done
    (line,) = (line for line in done.stderr.splitlines() if 'FATAL' in line)
    return line


NODE = ROOT / 'scripts' / 'sim_node'


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda text: text[: text.index('    sim:')], "no 'sim' block"),
        (lambda text: text.replace('mount: arm', 'mount: hand'), "wrist.mount' is 'hand'"),
        (lambda text: text.replace('[fr3_finger_joint1,', '[finger,'), "no joint 'finger'"),
    ],
)
def test_an_embodiment_without_a_simulation_ends_the_node_with_one_line(tmp_path, change, words):
    config = tmp_path / 'robot.yaml'
    config.write_text(change((ROOT / 'config' / 'franka_sim.yaml').read_text()))
    done = run_until_it_ends(config, NODE)
    assert words in fatal(done)
    assert 'Traceback' not in done.stderr


def test_an_error_of_the_simulation_ends_the_node_and_is_logged():
    config = ROOT / 'config' / 'franka_sim.yaml'
    done = run_until_it_ends(config, NODE, MUJOCO_GL='glfw', DISPLAY='')
    assert 'cannot render with MUJOCO_GL=glfw' in fatal(done)
    code = (
        'from xvla_ros.nodes.sim import __main__ as sim; import sys\n'
        'sim.SceneFeedback.publish = lambda *_: 1 / 0\n'
        'sys.exit(sim.main(sys.argv))'
    )
    done = run_until_it_ends(config, '-c', code)
    assert 'the simulation ended: ZeroDivisionError: division by zero' in fatal(done)
    assert 'in _simulate' in done.stderr
