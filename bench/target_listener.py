# SPDX-License-Identifier: Apache-2.0
"""
Join, hear some targets, leave: what a recorder or `ros2 topic echo` does to the one who publishes.

python -m bench.target_listener --targets 50 --out facts.json
"""

from argparse import ArgumentParser
from collections.abc import Sequence
import json
from pathlib import Path
import sys

import rclpy

from xvla_ros.msg import EndEffectorCommand

DEPTH = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Subscribe until a number of targets has come; write how many came."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--targets', type=int, required=True)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args(arguments)
    rclpy.init()
    node, heard = rclpy.create_node('target_listener'), []
    node.create_subscription(EndEffectorCommand, 'policy_node/target', heard.append, DEPTH)
    while len(heard) < options.targets:
        rclpy.spin_once(node, timeout_sec=0.1)
    rclpy.try_shutdown()
    options.out.write_text(json.dumps({'targets': len(heard)}), encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
