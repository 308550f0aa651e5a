# SPDX-License-Identifier: Apache-2.0
"""A batch answers what each request alone would have been answered."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from xvla_ros.core.warm_start import WarmStart  # noqa: E402
from xvla_ros.serve.batching import answers, batch_key  # noqa: E402
from xvla_ros.serve.requests import InferenceRequest  # noqa: E402


def requests(count, steps=5):
    """Return requests that differ in everything that may differ within a batch."""
    random = np.random.default_rng(11)
    words = ('pick up the red block', 'pick up the green block', 'the blue block')
    return [
        InferenceRequest(
            images=tuple(
                random.integers(0, 256, (40 + 8 * i, 60, 3), np.uint8) for _ in range(1 + i % 3)
            ),
            proprio=random.normal(size=20).astype(np.float32),
            instruction=words[i % 3],
            domain_id=i % 3,
            steps=steps,
            noise=random.normal(size=(6, 20)).astype(np.float32),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize('count', [1, 2, 3, 8])
def test_a_batch_equals_single_requests(policy, count):
    asked = requests(count)
    together = answers(policy, asked)
    alone = [answers(policy, [request])[0] for request in asked]
    assert len(together) == count
    for a, b in zip(together, alone, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=2e-5)
    assert count == 1 or np.abs(together[0] - together[1]).max() > 1e-3


def test_a_request_that_goes_alone_keeps_its_options(policy):
    plain = requests(1)[0]
    chunk = answers(policy, [plain])[0]
    asked = {name: getattr(plain, name) for name in InferenceRequest.__dataclass_fields__}
    prefix = chunk[:2] + np.float32(0.1)
    continued = answers(policy, [InferenceRequest(**asked | {'prefix': prefix})])[0]
    np.testing.assert_array_equal(continued[:2], prefix)
    assert np.abs(continued[2:] - chunk[2:]).max() > 0.0
    answers(policy, [InferenceRequest(**asked | {'tolerance': (1e3, 180.0)})])
    assert policy.last_steps < plain.steps
    start = WarmStart(plan=np.zeros((6, 20), np.float32), time=0.1)
    (warm,) = answers(policy, [InferenceRequest(**asked | {'warm_start': start})])
    assert np.abs(warm - chunk).max() > 0.0


def test_without_noise_every_request_draws_its_own(policy):
    request = requests(1, steps=1)[0]
    silent = InferenceRequest(
        images=request.images,
        proprio=request.proprio,
        instruction=request.instruction,
        domain_id=0,
        steps=1,
    )
    a, b = answers(policy, [silent, silent])
    assert np.abs(a - b).max() > 0.0


def test_only_equal_steps_share_a_batch_and_a_prefix_goes_alone():
    plain, other = requests(1)[0], requests(1, steps=6)[0]
    assert batch_key(plain) != batch_key(other)
    assert batch_key(plain) is not None
    fields = {name: getattr(plain, name) for name in InferenceRequest.__dataclass_fields__}
    for change in (
        {'prefix': np.zeros((2, 20), np.float32)},
        {'tolerance': (1.0, 1.0)},
        {'warm_start': WarmStart(plan=np.zeros((6, 20), np.float32), time=0.1)},
    ):
        assert batch_key(InferenceRequest(**fields | change)) is None
