# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints shared by the model's tests."""

import pytest


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """Keep torch to one thread: the networks are too small to gain from more."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    from xvla_ros.testing.miniature import write_small

    return write_small(tmp_path_factory.mktemp('small'))


@pytest.fixture(scope='session')
def policy(checkpoint):
    from xvla_ros.model import load_policy

    return load_policy(checkpoint)
