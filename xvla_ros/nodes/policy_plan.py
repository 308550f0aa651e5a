# SPDX-License-Identifier: Apache-2.0
"""What the worker is told of the motion that the robot is committed to. No ROS in here."""

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.nodes.policy_control import PolicyControl
from xvla_ros.nodes.worker_link import Plan


def committed_plan(
    embodiment: Embodiment, control: PolicyControl, executed: Chunk | None, now_ns: int
) -> Plan | None:
    """
    Return what will be executed, or None when nothing in the embodiment asks for it.

    :param executed: the last chunk that was accepted.
    """
    policy, queue = embodiment.policy, control.queue
    inpaint = queue.strategy == 'inpaint'
    told = policy.relative_position or policy.proprio_source in ('commanded', 'chunk_end')
    if not (inpaint or told or policy.warm_start_time):
        return None
    count = max(1, round(queue.remaining_s(now_ns) / policy.anchor_period_s))
    upcoming = queue.plan(now_ns, policy.anchor_period_s, count)
    latency_s = control.latency.value_s or 0.0
    prefix_s = latency_s + embodiment.control.inpaint_s if inpaint else 0.0
    return Plan(upcoming=upcoming, executed=executed, prefix_s=prefix_s)
