# SPDX-License-Identifier: Apache-2.0
"""What policy and controller agree on: the topics between them and how they are served."""

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile

TARGET_TOPIC = 'policy_node/target'
CONTROLLER_STATUS_TOPIC = 'controller_node/status'
# The latest status reaches those who come later. The lease is renewed by a thread of the
# middleware: a busy controller keeps it, a killed one loses it.
CONTROLLER_STATUS_QOS = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=Duration(seconds=2),
)
