# SPDX-License-Identifier: Apache-2.0
"""The laws of `Policy.predict`: what is equal bit for bit, and what is refused."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xvla_ros.core.errors import InferenceError, ObservationError
from xvla_ros.model import load_policy, Tolerance, WarmStart
from xvla_ros.model.denoiser import context_of
from xvla_ros.model.sampler import flow_times, sample
from xvla_ros.testing.miniature import noise, observation


def predict(policy, **changes):
    return policy.predict(**(observation() | {'noise': noise(policy)} | changes))


def test_the_same_observation_and_noise_give_the_same_bits(policy, checkpoint):
    first = predict(policy)
    assert first.shape == (6, 20)
    assert first.dtype == np.float32
    assert np.array_equal(first, predict(policy))
    predict(policy, instruction='pick up the blue block', domain_id=0)
    assert np.array_equal(first, predict(policy))
    assert np.array_equal(first, predict(load_policy(checkpoint)))


def test_every_input_matters(policy):
    first = predict(policy)
    others = (
        {'images': observation(seed=9)['images']},
        {'proprio': observation(seed=9)['proprio']},
        {'instruction': 'pick up the green block'},
        {'domain_id': 2},
        {'noise': noise(policy, 9)},
        {'steps': 3},
    )
    for change in others:
        assert not np.array_equal(first, predict(policy, **change)), change


@pytest.mark.parametrize('steps', [1, 4, 10])
def test_hoisted_denoising_equals_the_plain_forward(policy, steps):
    network, mode = policy.network, policy.mode
    generator = torch.Generator().manual_seed(0)
    encoded = torch.randn(2, 60, 32, generator=generator)
    auxiliary = torch.randn(2, 52, 32, generator=generator)
    start = torch.randn(2, 6, 20, generator=generator)
    proprio, _ = mode.preprocess(torch.randn(2, 20, generator=generator), start)
    domain, times = torch.tensor([0, 2]), flow_times(steps)

    def plain(noisy, index):
        t = torch.full((2,), times[index])
        actions = mode.preprocess(proprio, noisy)[1]
        return network.transformer(actions, proprio, t, encoded, auxiliary, domain)

    embedded = torch.tensor(times)
    with torch.inference_mode():
        context = context_of(network.transformer, encoded, auxiliary, domain, 6)
        hoisted = network.denoiser(context, proprio, domain, embedded)
        expected, _ = sample(plain, start, times, mode)
        actual, _ = sample(
            lambda x, i: hoisted(mode.preprocess(proprio, x)[1], i), start, times, mode
        )
    assert torch.allclose(actual, expected, atol=2e-6)


def test_a_batch_of_training_encodes_as_single_views_do(policy):
    """Masked views are exact zeros in both ways, whatever pixels stand there."""
    images = policy.images(observation(views=3)['images'])[None]
    mask = torch.tensor([[True, False, True]])
    tokens = torch.tensor([policy.text('pick up the red block')])
    with torch.inference_mode():
        _, auxiliary = policy.network.encode(tokens, images, mask)
        features = policy.network.image_features(images[0, [0, 2]])
    views = auxiliary.unflatten(1, (2, -1))
    assert (views[0, 0] == 0).all()
    assert torch.allclose(views[0, 1], features[1], atol=1e-5)


def test_a_missing_view_is_zero_features_not_a_black_image(policy):
    images = observation(views=2)['images']
    black = np.zeros_like(images[0])
    features = policy.view_features(images)
    assert (features[0, 2] == 0).all()
    assert not np.array_equal(
        predict(policy, images=images), predict(policy, images=[*images, black])
    )


@pytest.mark.parametrize('rows', [0, 1, 4, 6])
def test_a_committed_prefix_comes_back_unchanged(policy, rows):
    committed = predict(policy)[:rows]
    chunk = predict(policy, noise=noise(policy, 5), prefix=committed)
    assert np.array_equal(chunk[:rows], committed)
    free = predict(policy, noise=noise(policy, 5))
    assert np.array_equal(chunk, free) == (rows == 0)


def test_a_prefix_changes_what_follows_it(policy):
    committed = np.full((2, 20), 0.9, np.float32)
    assert not np.array_equal(predict(policy, prefix=committed)[2:], predict(policy)[2:])


def test_a_zero_tolerance_is_the_reference_and_a_wide_one_skips_to_the_last_step(policy):
    exact = predict(policy)
    assert np.array_equal(predict(policy, tolerance=Tolerance()), exact)
    assert policy.last_steps == 10
    near = predict(policy, tolerance=(100.0, 45.0))
    assert policy.last_steps == 3
    assert np.array_equal(near, predict(policy, steps=(1.0, 0.9, 0.1)))
    predict(policy, tolerance=(1e-9, 1e-9))
    assert policy.last_steps == 10


def test_steps_may_be_the_times_themselves(policy):
    times = tuple(i / 10 for i in range(10, 0, -1))
    assert np.array_equal(predict(policy, steps=times), predict(policy))


def test_a_warm_start_at_time_one_is_an_ordinary_run(policy):
    plan = predict(policy)
    again = predict(policy, warm_start=WarmStart(plan=plan, time=1.0))
    assert np.array_equal(again, plan)
    near = predict(policy, warm_start=WarmStart(plan=plan, time=0.4), steps=4)
    assert np.abs(near - plan).max() < 0.05


def test_a_warm_start_begins_from_its_plan(policy):
    plans = [np.full((6, 20), value, np.float32) for value in (0.2, 0.4)]
    one, two = (predict(policy, warm_start=WarmStart(plan=p, time=0.5), steps=1) for p in plans)
    assert policy.last_steps == 1
    assert np.abs(one - two).max() > 1e-4


@pytest.mark.parametrize(('steps', 'times'), [(1, (0.1,)), (2, (0.1, 0.05)), ([0.3], (0.3,))])
def test_a_warm_start_without_a_plan_predicts_one_first(policy, steps, times):
    start = WarmStart(plan=None, time=0.1)
    unplanned = predict(policy, warm_start=start, steps=steps)
    assert policy.last_steps == 1 + len(times)
    assert np.array_equal(unplanned, predict(policy, steps=(1.0, *times)))


def test_a_warm_start_from_time_one_needs_no_plan(policy):
    assert np.array_equal(
        predict(policy, warm_start=WarmStart(plan=None, time=1.0)), predict(policy)
    )


def test_bfloat16_agrees_to_its_rounding(policy, checkpoint):
    half = load_policy(checkpoint, dtype='bfloat16')
    assert np.abs(predict(half) - predict(policy)).max() < 0.05


def test_noise_is_drawn_when_none_is_given(policy):
    assert not np.array_equal(predict(policy, noise=None), predict(policy, noise=None))


IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'images': []}, 'images: got 0'),
        ({'images': [IMAGE] * 4}, 'images: got 4'),
        ({'images': IMAGE}, 'images: got ndarray'),
        ({'images': 'front.png'}, 'images: got str'),
        ({'images': ['front.png']}, 'image 0 is a str'),
        ({'images': [b'\x89PNG']}, 'image 0 is a bytes'),
        ({'images': [IMAGE, None]}, 'image 1 is a NoneType'),
        ({'images': [IMAGE.astype(np.float32)]}, r'image 0 is \(8, 8, 3\) float32'),
        ({'images': [IMAGE[..., 0]]}, r'image 0 is \(8, 8\) uint8'),
        ({'images': [IMAGE[:0]]}, 'image 0 is 8x0'),
        ({'images': [np.broadcast_to(IMAGE[:1, :1], (9000, 8, 3))]}, 'image 0 is 8x9000'),
        ({'proprio': np.full(20, np.nan)}, r'proprio\[0\] is nan'),
        ({'proprio': np.full(20, np.inf)}, r'proprio\[0\] is inf'),
        ({'proprio': np.zeros(14)}, r'proprio has shape \(14,\)'),
        ({'proprio': [0.0] * 20}, 'proprio is a list'),
        ({'proprio': np.zeros(20, complex)}, 'proprio is a ndarray'),
        ({'instruction': b'pick'}, 'instruction is a bytes'),
        ({'instruction': None}, 'instruction is a NoneType'),
        ({'domain_id': 3}, 'domain_id is 3, expected 0 to 2'),
        ({'domain_id': -1}, 'domain_id is -1'),
        ({'domain_id': 1.5}, 'domain_id is 1.5, expected an integer'),
        ({'domain_id': True}, 'domain_id is True'),
        ({'steps': 0}, 'steps is 0'),
        ({'steps': 10**6}, 'steps is 1000000'),
        ({'steps': (1.0, 0.0)}, 'steps is'),
        ({'steps': ()}, 'steps is'),
        ({'steps': '10'}, "steps is '10'"),
        ({'noise': np.zeros((6, 19))}, r'noise has shape \(6, 19\)'),
        ({'noise': np.full((6, 20), np.nan)}, r'noise\[0, 0\] is nan'),
        ({'prefix': np.zeros((7, 20))}, 'prefix: expected an array of at most 6 rows'),
        ({'prefix': np.zeros((2, 10))}, r'prefix has shape \(2, 10\)'),
        ({'prefix': [0.0]}, 'prefix: expected an array'),
        ({'warm_start': WarmStart(plan=np.zeros((6, 20)), time=0.0)}, r'warm_start\.time is 0\.0'),
        ({'warm_start': WarmStart(plan=None, time=1.5)}, r'warm_start\.time is 1\.5'),
        ({'warm_start': WarmStart(plan=np.zeros((5, 20)))}, r'warm_start\.plan has 5 rows'),
        ({'tolerance': (-1.0, 0.0)}, 'tolerance is'),
        ({'tolerance': (1.0, np.nan)}, 'tolerance is'),
        ({'tolerance': 3.0}, 'tolerance is'),
    ],
)
def test_a_wrong_input_is_refused_by_name(policy, change, named):
    with pytest.raises(ObservationError, match=named):
        predict(policy, **change)


def test_an_answer_that_is_not_finite_is_refused(checkpoint):
    policy = load_policy(checkpoint)
    policy.network.transformer.norm.bias.data.fill_(float('inf'))
    with pytest.raises(InferenceError, match='not finite'):
        predict(policy)


@pytest.mark.parametrize('scale', [1e6, 1e30, 3e38])
def test_an_absurd_state_never_gives_an_answer_that_is_not_finite(policy, scale):
    with contextlib.suppress(InferenceError):
        assert np.isfinite(predict(policy, proprio=np.full(20, scale, np.float32))).all()


def test_read_only_and_strided_images_are_taken_as_they_are(policy):
    images = observation()['images']
    frozen = [image.copy() for image in images]
    for image in frozen:
        image.setflags(write=False)
    strided = [np.ascontiguousarray(image[..., ::-1])[..., ::-1] for image in images]
    assert np.array_equal(predict(policy, images=frozen), predict(policy))
    assert np.array_equal(predict(policy, images=strided), predict(policy))


def questions(policy):
    """Return three questions with one, two and three views."""
    asked = []
    for index in range(3):
        fields = observation(seed=index, views=1 + index) | {'domain_id': index}
        asked.append(SimpleNamespace(**fields, noise=noise(policy, index)))
    return asked


def test_a_batch_of_one_gives_the_bits_of_a_single_prediction(policy):
    for question in questions(policy):
        (chunk,) = policy.predict_batch([question], steps=4)
        assert np.array_equal(chunk, policy.predict(**vars(question), steps=4))


def test_a_batch_answers_each_question_as_if_it_were_alone(policy):
    asked = questions(policy)
    together = policy.predict_batch(asked)
    for question, chunk in zip(asked, together, strict=True):
        np.testing.assert_allclose(chunk, policy.predict(**vars(question)), atol=2e-5)


def test_a_wrong_question_in_a_batch_is_refused_by_name(policy):
    asked = questions(policy)
    asked[1].proprio = np.full(20, np.nan)
    with pytest.raises(ObservationError, match=r'proprio\[0\] is nan'):
        policy.predict_batch(asked)


def test_warming_up_changes_no_answer_and_takes_what_predict_takes(policy):
    before = predict(policy)
    policy.warm_up(2, 'pick up the red block', 1, steps=3)
    assert policy.last_steps == 3
    policy.warm_up(2, steps=1, warm_start_time=0.1)
    assert policy.last_steps == 1
    assert np.array_equal(predict(policy), before)
    with pytest.raises(ObservationError, match='images: got 4'):
        policy.warm_up(4)
