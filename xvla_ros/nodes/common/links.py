# SPDX-License-Identifier: Apache-2.0
"""The topics between policy and controller, and their quality of service."""

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile

TARGET_TOPIC = 'policy_node/target'
CONTROLLER_STATUS_TOPIC = 'controller_node/status'
# Late subscribers get the latest status. A thread of the middleware renews the lease, so a busy
# controller keeps it and a killed one loses it.
CONTROLLER_STATUS_QOS = QoSProfile(
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    liveliness=LivelinessPolicy.AUTOMATIC,
    liveliness_lease_duration=Duration(seconds=2),
)
