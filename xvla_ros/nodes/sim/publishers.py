# SPDX-License-Identifier: Apache-2.0
"""Publishers of the simulated robot: joint states, tool poses, images and the scene."""

import array
from collections import deque

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, Quaternion
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.settings import ArmSettings
from xvla_ros.core.sim_settings import SimArmSettings, SimSettings
from xvla_ros.nodes.common.conversions import point, pose_to_message
from xvla_ros.sim.frames import intrinsics, optical_frame, WORLD_FRAME
from xvla_ros.sim.scenes import Scene
from xvla_ros.sim.world import World

# Rate of cameras that the policy does not use (the demo's view) [Hz]. They are rendered only while
# somebody subscribes.
EXTRA_CAMERA_RATE_HZ = 5.0
# For each driver, the frame_id (None: the base frame) and the link (None: the tool) of its pose
# topic. Piper's driver leaves frame_id empty and publishes the pose of the flange
# (piper_ctrl_single_node.py, end_pose_stamped).
POSE_TOPICS = {'piper': ('', 'link6')}
RGBA = {'red': (0.85, 0.1, 0.1), 'green': (0.1, 0.65, 0.15), 'blue': (0.1, 0.2, 0.85)}


class ArmFeedback:
    """Publishes one arm's joint state and pose on the topics of its driver."""

    def __init__(self, node: Node, name: str, arm: ArmSettings) -> None:
        self._name, self._arm = name, arm
        self._joints = node.create_publisher(JointState, arm.joint_states_topic, 10)
        apart = arm.gripper.joint_states_topic
        self._fingers = node.create_publisher(JointState, apart, 10) if apart else self._joints
        self._pose = (
            node.create_publisher(PoseStamped, arm.pose_topic, 10) if arm.pose_topic else None
        )
        frame, link = POSE_TOPICS.get(arm.driver, (None, None))
        self._frame = arm.base_frame if frame is None else frame
        urdf = shared_file('resource', arm.urdf)
        self._link = Kinematics(urdf, link or arm.tool_frame, arm.joint_names)

    def publish(self, world: World, stamp: Time) -> None:
        """Publish the current state, stamped with a time."""
        q = world.joint_positions(self._name)
        names, positions = list(self._arm.joint_names), q.tolist()
        fingers = self._finger_positions(world)
        if self._fingers is not self._joints:
            self._send(self._fingers, stamp, list(self._arm.gripper.joint_names), fingers)
        else:
            names, positions = names + list(self._arm.gripper.joint_names), positions + fingers
        self._send(self._joints, stamp, names, positions)
        if self._pose:
            message = PoseStamped(pose=pose_to_message(*self._link.forward(q)))
            message.header.stamp, message.header.frame_id = stamp, self._frame
            self._pose.publish(message)

    def _finger_positions(self, world: World) -> list[float]:
        """Return the finger joints [m] as the driver publishes them."""
        gripper = self._arm.gripper
        opening = world.tool_pose(self._name).gripper
        span = gripper.open_position - gripper.closed_position
        return [gripper.closed_position + opening * span] * len(gripper.joint_names)

    @staticmethod
    def _send(publisher: Publisher, stamp: Time, names: list[str], positions: list[float]) -> None:
        message = JointState(name=names, position=positions)
        message.header.stamp = stamp
        publisher.publish(message)


class CameraFeedback:
    """
    Renders the cameras that are due, one per call, so that a step waits for one image only.

    A camera_info in the camera's optical frame is published with each image.
    """

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        assert embodiment.sim is not None
        self._size = (embodiment.sim.image_width, embodiment.sim.image_height)
        self._publishers: dict[str, Publisher] = {}
        self._infos: dict[str, tuple[Publisher, CameraInfo]] = {}
        self._periods: dict[str, float] = {}
        for name in embodiment.sim.cameras:
            camera = embodiment.cameras.get(name)
            if camera and camera.compressed:
                raise ConfigError(
                    f'cameras.{name}.compressed is true, expected false: a simulated camera '
                    'publishes raw images'
                )
            topic = camera.topic if camera else f'camera/{name}/image_raw'
            rate_hz = embodiment.sim.camera_rate_hz if camera else EXTRA_CAMERA_RATE_HZ
            self._publishers[name] = node.create_publisher(Image, topic, qos_profile_sensor_data)
            self._infos[name] = (
                node.create_publisher(CameraInfo, info_topic(topic), qos_profile_sensor_data),
                camera_info(name, embodiment.sim),
            )
            self._periods[name] = 1.0 / rate_hz
        self._wanted = set(embodiment.camera_names)
        self._due = dict.fromkeys(self._publishers, 0.0)
        self._waiting: deque[str] = deque()

    def warm_up(self, world: World) -> None:
        """Render every camera once before the start, because the first image takes 0.5 s."""
        for name in self._publishers:
            world.render(name, *self._size)

    def publish_one(self, world: World, now_s: float, stamp: Time) -> None:
        """
        Render and publish the camera that has waited longest, if one is due.

        :param now_s: simulated time since the start [s].
        """
        for name, due in self._due.items():
            if now_s >= due and name not in self._waiting:
                self._due[name] = max(due + self._periods[name], now_s)
                if name in self._wanted or self._publishers[name].get_subscription_count():
                    self._waiting.append(name)
        if self._waiting:
            self._publish(self._waiting.popleft(), world, stamp)

    def _publish(self, name: str, world: World, stamp: Time) -> None:
        pixels = world.render(name, *self._size)
        height, width, _ = pixels.shape
        message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
        message.header.stamp, message.header.frame_id = stamp, optical_frame(name)
        message.data = array.array('B', pixels.tobytes())  # a numpy array would cost 85 ms
        self._publishers[name].publish(message)
        publisher, info = self._infos[name]
        info.header.stamp = stamp
        publisher.publish(info)


def info_topic(image_topic: str) -> str:
    """Return the topic of the intrinsics of the images on a topic, as image_transport has it."""
    return '/'.join([*image_topic.split('/')[:-1], 'camera_info'])


def camera_info(name: str, sim: SimSettings) -> CameraInfo:
    """Return the intrinsics of a simulated camera, without a stamp."""
    width, height = sim.image_width, sim.image_height
    matrix = intrinsics(sim.cameras[name].fov_deg, width, height)
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
    info.header.frame_id = optical_frame(name)
    info.k, info.r = matrix.ravel(), np.eye(3).ravel()
    info.p = np.hstack([matrix, np.zeros((3, 1))]).ravel()
    return info


class SceneFeedback:
    """Publishes positions of blocks and tools and the named block's colour, for demo and RViz."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        assert embodiment.sim is not None
        self._sim = embodiment.sim
        self._publisher = node.create_publisher(MarkerArray, '~/scene', 1)

    def publish(self, world: World, scene: Scene, stamp: Time) -> None:
        """Publish the current scene, stamped with a time."""
        size = self._sim.block_size_m
        markers = [
            self._marker(f'block/{c}', Marker.CUBE, p, size, RGBA[c])
            for c, p in world.block_positions().items()
        ]
        for name, place in self._sim.arms.items():
            pose = world.tool_pose(name)
            position, turn = in_world(place, pose.position)
            marker = self._marker(f'tool/{name}', Marker.SPHERE, position, 0.02, (0.95, 0.8, 0.1))
            x, y, z, w = (turn * Rotation.from_quat(pose.quaternion)).as_quat().tolist()
            marker.pose.orientation = Quaternion(x=x, y=y, z=z, w=w)
            markers.append(marker)
        above = world.block_positions()[scene.colour] + [0.0, 0.0, 0.15]
        text = self._marker('instruction', Marker.TEXT_VIEW_FACING, above, 0.05, (0.1, 0.1, 0.1))
        text.text = scene.colour
        for each in (*markers, text):
            each.header.stamp = stamp
        self._publisher.publish(MarkerArray(markers=[*markers, text]))

    def _marker(
        self,
        namespace: str,
        kind: int,
        position: np.ndarray,
        size_m: float,
        rgb: tuple[float, ...],
    ) -> Marker:
        marker = Marker(ns=namespace, type=kind, action=Marker.ADD)
        marker.header.frame_id = WORLD_FRAME
        marker.pose.position = point(position)
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = size_m
        marker.color = ColorRGBA(r=rgb[0], g=rgb[1], b=rgb[2], a=1.0)
        return marker


def in_world(place: SimArmSettings, position: np.ndarray) -> tuple[np.ndarray, Rotation]:
    """Return a point (3,) [m] of an arm's base frame in the world, and that frame's rotation."""
    turn = Rotation.from_euler('z', place.base_yaw_rad)
    return turn.apply(position) + place.base_position_m, turn
