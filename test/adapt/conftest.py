# SPDX-License-Identifier: Apache-2.0
"""What the tests of training share: a small checkpoint, and one thread for torch."""

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch to one thread: the networks are too small to gain from more."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Return the folder of a small checkpoint with random weights."""
    from demonstrations import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp('base'))
