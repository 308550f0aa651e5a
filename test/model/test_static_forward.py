# SPDX-License-Identifier: Apache-2.0
"""
The whole of a chunk runs on one device without a look back at the host.

There need not be a GPU for this: tensors of the `meta` device have shapes but no values, so that
whatever would wait for a value (`.item()`, a boolean index, `if tensor`) raises, and an operation
that mixes in a tensor of the host is seen. So the run can be recorded as a CUDA graph.
"""

from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xvla_ros.model.action_modes import MODES
from xvla_ros.model.config import parse_config
from xvla_ros.model.cuda_graph import CapturedAnswer
from xvla_ros.model.forward import answer, Batch, Geometry
from xvla_ros.model.packing import pack
from xvla_ros.model.sampler import flow_times, Tolerance
from xvla_ros.model.xvla import XVLA
from xvla_ros.testing.miniature import noise, observation, small_json

TIMES = flow_times(10)


class OneDevice(TorchDispatchMode):
    """Refuses every operation that has to do with a tensor elsewhere than on `meta`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and look at its tensors."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device.type == 'meta', f'{func} on {tensor.device}'
        return out


class NoHostData(TorchFunctionMode):
    """Refuses tensors made of Python's numbers: lists as indices are such, too."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Look at the arguments of a call and make it."""
        assert func not in (torch.tensor, torch.as_tensor, torch.from_numpy), func
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            assert not any(isinstance(part, list) for part in tree_leaves(args[1], is_list)), args
        return func(*args, **(kwargs or {}))


def is_list(part):
    return isinstance(part, list)


@contextmanager
def without_host():
    with torch.inference_mode(), OneDevice(), NoHostData():
        yield


def shaped_network(dtype, **changes):
    """Return a packed network without values, laid out as on a GPU."""
    with torch.device('meta'):
        network = XVLA(parse_config(small_json(**changes))).eval().requires_grad_(False)
    pack(network, dtype, 'meta')
    return network


def shaped_batch(network, views):
    config, device, rows = network.config, 'meta', len(views)
    return Batch(
        pixels=torch.empty(sum(views), 3, 40, 40, device=device),
        words=torch.empty(rows, config.text_length, 32, device=device),
        state=torch.empty(rows, network.dim_proprio, device=device),
        domain=torch.zeros(rows, dtype=torch.int64, device=device),
        noise=torch.empty(rows, config.num_actions, network.mode.dim, device=device),
        plan=torch.empty(rows, config.num_actions, network.mode.dim, device=device),
        times=torch.empty(len(TIMES), device=device),
    )


def run(views=(1,), dtype=torch.float32, tolerance=None, **changes):
    network = shaped_network(dtype, **changes)
    batch, geometry = shaped_batch(network, views), Geometry(views=views, times=TIMES)
    with without_host():
        chunks, used = answer(network, batch, geometry, tolerance=tolerance)
    assert used == len(TIMES)
    assert chunks.shape == (len(views), network.config.num_actions, network.mode.real_dim)


@pytest.mark.parametrize('mode', sorted(MODES))
def test_a_chunk_in_any_action_mode_never_asks_the_host(mode):
    run(action_mode=mode, max_action_dim=20, real_action_dim=14)


@pytest.mark.parametrize('views', [(3,), (1, 3, 2)])
def test_a_chunk_of_any_views_in_bfloat16_never_asks_the_host(views):
    run(views, torch.bfloat16)


def test_a_tolerance_does_ask_and_is_seen_to():
    with pytest.raises(AssertionError):
        run(tolerance=Tolerance(position_mm=1.0, rotation_deg=1.0))


@pytest.mark.parametrize(
    'ask',
    [
        lambda x: x[[0, 2]],
        lambda x: x[..., [0]].copy_(x[:1]),
        lambda x: x + torch.ones(4),
        lambda x: x + torch.tensor([1.0] * 4, device='meta'),
        lambda x: x[torch.arange(4) > 1],
    ],
)
def test_whatever_asks_the_host_is_seen(ask):
    with without_host(), pytest.raises(AssertionError):
        ask(torch.empty(4, device='meta'))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='a CUDA graph needs a GPU')
def test_a_recorded_chunk_equals_an_eager_one(checkpoint):
    from xvla_ros.model import load_policy

    policy = load_policy(checkpoint, device='cuda', dtype='bfloat16')
    asked = [observation(seed) | {'noise': noise(policy, seed)} for seed in range(3)]
    eager = [policy.predict(**question) for question in asked]
    policy.warm_up(len(asked[0]['images']))
    (captured,) = policy.captured.values()
    assert isinstance(captured, CapturedAnswer)
    for question, expected in zip(asked * 2, eager * 2, strict=True):
        assert abs(policy.predict(**question) - expected).max() < 0.05
