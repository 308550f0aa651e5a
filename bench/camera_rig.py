# SPDX-License-Identifier: Apache-2.0
"""
Publish cameras and the state of an arm at rest, as drivers do: the inputs of a benchmark.

python -m bench.camera_rig --embodiment FILE --seconds 20 --listeners 2 --out counts.json
"""

from argparse import ArgumentParser
from array import array
from collections.abc import Sequence
import json
from pathlib import Path
import sys
import threading
import time

from geometry_msgs.msg import PoseStamped
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.ticker import Ticker
from xvla_ros.nodes.common.conversions import pose_to_message
from xvla_ros.runtime.home import home_poses

STATE_RATE_HZ = 100.0
# After the stream: a few slow frames, so that an observation is made after the last of them.
LAST_FRAMES, LAST_PERIOD_S = 3, 0.2


class CameraRig(Node):
    """The cameras and the one arm of an embodiment."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        """Create the publishers."""
        super().__init__('camera_rig')
        embodiment = load_embodiment(path)
        (self._arm,) = embodiment.arms.values()
        self._home = home_poses(embodiment)[0]
        self._pixels = array('B', bytes(width * height * 3))
        self._size = width, height
        self._cameras = [
            self.create_publisher(Image, camera.topic, qos_profile_sensor_data)
            for camera in embodiment.cameras.values()
        ]
        self._pose = self.create_publisher(
            PoseStamped, self._arm.pose_topic, qos_profile_sensor_data
        )
        self._joints = self.create_publisher(
            JointState, self._arm.joint_states_topic, qos_profile_sensor_data
        )
        self.sent = 0
        self.triggers_ns: list[tuple[int, int]] = []

    def heard(self, listeners: int) -> bool:
        """Tell whether the policy is active and every camera has enough subscribers."""
        active = self.count_publishers('policy_node/target') > 0
        return active and all(c.get_subscription_count() >= listeners for c in self._cameras)

    def publish_frames(self) -> None:
        """
        Publish one frame of every camera, one after the other, each with its own stamp.

        `triggers_ns` gets the time before the first and after the last.
        """
        width, height = self._size
        began_ns = self.get_clock().now().nanoseconds
        for camera in self._cameras:
            image = Image(width=width, height=height, step=3 * width, encoding='rgb8')
            image.header.stamp = self.get_clock().now().to_msg()
            image.data = self._pixels
            camera.publish(image)
            self.sent += 1
        self.triggers_ns.append((began_ns, self.get_clock().now().nanoseconds))

    def publish_arm(self) -> None:
        """Publish the arm's state."""
        stamp = self.get_clock().now().to_msg()
        pose = PoseStamped(pose=pose_to_message(self._home.position, self._home.quaternion))
        pose.header.stamp, pose.header.frame_id = stamp, self._arm.base_frame
        self._pose.publish(pose)
        gripper = self._arm.gripper
        joints = JointState(
            name=[*self._arm.joint_names, *gripper.joint_names],
            position=[*self._arm.home_rad, *[gripper.open_position] * len(gripper.joint_names)],
        )
        joints.header.stamp = stamp
        self._joints.publish(joints)


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish the arm's state throughout, images once somebody subscribes; write the counts."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--embodiment', type=Path, required=True)
    parser.add_argument('--size', default='640x480')
    parser.add_argument('--rate', type=float, default=30.0)
    parser.add_argument('--seconds', type=float, required=True)
    parser.add_argument('--listeners', type=int, required=True, help='wait for so many')
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args(arguments)
    rclpy.init()
    rig = CameraRig(options.embodiment, *map(int, options.size.split('x')))
    stop = threading.Event()
    arm = Ticker(STATE_RATE_HZ)
    threading.Thread(target=arm.run, args=(lambda _: rig.publish_arm(), stop), daemon=True).start()
    while not rig.heard(options.listeners):
        time.sleep(0.01)
    deadline = time.monotonic() + options.seconds
    frames = threading.Event()

    def frame(_: int) -> None:
        rig.publish_frames()
        if time.monotonic() > deadline:
            frames.set()

    Ticker(options.rate).run(frame, frames)
    for _ in range(LAST_FRAMES):
        time.sleep(LAST_PERIOD_S)
        rig.publish_frames()
    time.sleep(LAST_PERIOD_S)
    facts = {'frames_sent': rig.sent, 'triggers_ns': rig.triggers_ns}
    options.out.write_text(json.dumps(facts), encoding='utf-8')
    stop.set()
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
