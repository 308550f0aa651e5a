# SPDX-License-Identifier: Apache-2.0
"""X-VLA: the network, its checkpoints, and the policy that predicts chunks from observations."""

from xvla_ros.core.warm_start import shifted_plan, WarmStart
from xvla_ros.model.config import NetworkConfig, parse_config
from xvla_ros.model.loading import load_policy
from xvla_ros.model.policy import Policy
from xvla_ros.model.reading import read_config
from xvla_ros.model.sampler import Tolerance
from xvla_ros.model.writing import save_policy
from xvla_ros.model.xvla import build_network, XVLA

__all__ = [
    'XVLA',
    'NetworkConfig',
    'Policy',
    'Tolerance',
    'WarmStart',
    'build_network',
    'load_policy',
    'parse_config',
    'read_config',
    'save_policy',
    'shifted_plan',
]
