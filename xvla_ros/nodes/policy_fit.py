# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint and an embodiment belong together; asked before the robot may move."""

from collections.abc import Iterator

from xvla_ros.core.ee6d import EE6D_SIZE
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import CheckpointError
from xvla_ros.nodes.worker_link import CheckpointFacts


def check_fit(embodiment: Embodiment, facts: CheckpointFacts) -> None:
    """
    Compare what checkpoint and embodiment say of each other; what is not said passes.

    :raises CheckpointError: naming everything that does not fit.
    """
    misfits = list(_misfits(embodiment, facts))
    if misfits:
        source = embodiment.policy.checkpoint or embodiment.policy.server_url
        raise CheckpointError(
            f"checkpoint '{source}' does not fit embodiment '{embodiment.robot}': "
            f'{"; ".join(misfits)}'
        )


def _misfits(embodiment: Embodiment, facts: CheckpointFacts) -> Iterator[str]:
    policy, cameras = embodiment.policy, embodiment.camera_names
    if facts.action_mode is not None and facts.action_mode != policy.action_mode:
        yield f"its action mode is '{facts.action_mode}', not '{policy.action_mode}'"
    if facts.dim_action is not None and facts.dim_action != EE6D_SIZE:
        yield f'it answers {facts.dim_action} numbers per action, EE6D has {EE6D_SIZE}'
    if facts.view_slots is not None and len(cameras) > facts.view_slots:
        names = ', '.join(cameras)
        yield f'it has {facts.view_slots} view slots for {len(cameras)} cameras ({names})'
    if facts.num_domains is not None and policy.domain_id >= facts.num_domains:
        last = facts.num_domains - 1
        yield f'policy.domain_id is {policy.domain_id}, its domains are 0 to {last}'
    elif facts.trained_domains is not None and policy.domain_id not in facts.trained_domains:
        trained = list(facts.trained_domains)
        yield f'policy.domain_id {policy.domain_id} was never trained; trained are {trained}'
    if facts.num_actions is not None and policy.anchor_stride > facts.num_actions:
        stride = policy.anchor_stride
        yield f'policy.anchor_stride is {stride}, its chunks have {facts.num_actions} anchors'
