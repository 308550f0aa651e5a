# SPDX-License-Identifier: Apache-2.0
"""
Count the camera frames that reach another process: what the transport loses is lost for all.

python -m bench.frame_counter --embodiment FILE --out counts.json        until SIGTERM
"""

from argparse import ArgumentParser
from collections.abc import Sequence
import json
from pathlib import Path
import signal
import sys

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from xvla_ros.core.embodiment import load_embodiment


def main(arguments: Sequence[str] | None = None) -> int:
    """Count until a signal ends the process, then write the count."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--embodiment', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args(arguments)
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('frame_counter')
    frames = 0

    def count(_: bytes) -> None:
        nonlocal frames
        frames += 1

    for camera in load_embodiment(options.embodiment).cameras.values():
        node.create_subscription(Image, camera.topic, count, qos_profile_sensor_data, raw=True)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not ended:
        executor.spin_once(timeout_sec=0.1)
    options.out.write_text(json.dumps({'frames': frames}), encoding='utf-8')
    rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
