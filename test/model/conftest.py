# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints shared by the model's tests."""

import pytest
import torch

from xvla_ros.model import load_policy
from xvla_ros.testing.miniature import write_small

torch.set_num_threads(1)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp('small'))


@pytest.fixture(scope='session')
def policy(checkpoint):
    return load_policy(checkpoint)
