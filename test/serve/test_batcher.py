# SPDX-License-Identifier: Apache-2.0
"""Requests wait in line, run in batches, and never at the same time."""

from concurrent.futures import CancelledError
from dataclasses import replace
import threading
import time

import numpy as np
import pytest

from xvla_ros.core.errors import InferenceError, ObservationError
from xvla_ros.serve.batcher import Batcher, Pace
from xvla_ros.serve.requests import InferenceRequest, RequestError


def request(name, steps=10, **more):
    return InferenceRequest(
        images=(), proprio=np.zeros(20), instruction=name, domain_id=0, steps=steps, **more
    )


class Model:
    """Answers with the number of the batch, once it is let go."""

    def __init__(self):
        self.batches, self.inside, self.most_inside = [], 0, 0
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, requests):
        """Answer one batch."""
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.started.set()
        assert self.go.wait(20)
        names = [request.instruction for request in requests]
        self.batches.append(names)
        self.inside -= 1
        if any('bad' in name for name in names):
            raise ObservationError('bad request')
        if 'short' in names:
            return []
        return [np.full(1, len(self.batches))] * len(requests)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def batcher(model):
    made = Batcher(model, lambda request: request.steps or None, most=3, waiting=6)
    yield made
    model.go.set()
    made.close()


def submit_behind_first(batcher, model, *requests):
    """Keep the model busy with a first request, so that the others wait in line together."""
    first = batcher.submit(request('first'))
    assert model.started.wait(20)
    return [first, *[batcher.submit(r) for r in requests]]


def test_those_behind_the_oldest_run_with_it_when_they_may(batcher, model):
    waiting = submit_behind_first(
        batcher, model, request('a'), request('b', 4), request('c'), request('d', 4), request('e')
    )
    model.go.set()
    for future in waiting:
        future.result(20)
    assert model.batches == [['first'], ['a', 'c', 'e'], ['b', 'd']]
    assert model.most_inside == 1


def test_the_tightest_deadline_goes_first_and_takes_along_its_like(batcher, model):
    slack = {'late': 9.0, 'tight': 0.1, 'other': 0.2, 'next': 0.3}
    asked = [replace(request(n, 4 if n == 'other' else 10), slack_s=s) for n, s in slack.items()]
    waiting = submit_behind_first(batcher, model, *asked, request('silent'))
    model.go.set()
    for future in waiting:
        future.result(20)
    assert model.batches == [['first'], ['tight', 'next', 'silent'], ['other'], ['late']]


def test_a_batch_has_a_largest_size(batcher, model):
    waiting = submit_behind_first(batcher, model, *[request(str(i)) for i in range(5)])
    model.go.set()
    for future in waiting:
        future.result(20)
    assert model.batches == [['first'], ['0', '1', '2'], ['3', '4']]


def test_a_request_without_a_key_runs_alone(batcher, model):
    waiting = submit_behind_first(batcher, model, request('a', 0), request('b', 0))
    model.go.set()
    for future in waiting:
        future.result(20)
    assert model.batches == [['first'], ['a'], ['b']]


def test_a_full_line_refuses_instead_of_growing(batcher, model):
    submit_behind_first(batcher, model, *[request(str(i)) for i in range(6)])
    with pytest.raises(RequestError, match='busy') as error:
        batcher.submit(request('late'))
    assert error.value.status == 503


def test_those_who_left_make_room_in_a_full_line(batcher, model):
    line = submit_behind_first(batcher, model, *[request(str(i)) for i in range(6)])
    assert line[2].cancel()
    late = batcher.submit(request('late'))
    with pytest.raises(RequestError, match='busy'):
        batcher.submit(request('later'))
    model.go.set()
    late.result(20)
    assert model.batches == [['first'], ['0', '2', '3'], ['4', '5', 'late']]


def test_a_request_that_is_cancelled_while_it_waits_never_runs(batcher, model):
    _, gone, kept = submit_behind_first(batcher, model, request('gone'), request('kept'))
    assert gone.cancel()
    model.go.set()
    kept.result(20)
    assert model.batches == [['first'], ['kept']]


def test_one_bad_request_does_not_spoil_its_batch(batcher, model):
    _, good, bad = submit_behind_first(batcher, model, request('good'), request('bad'))
    model.go.set()
    assert good.result(20) is not None
    with pytest.raises(ObservationError, match='bad request'):
        bad.result(20)
    assert model.batches == [['first'], ['good', 'bad'], ['good'], ['bad']]


def test_a_model_that_answers_too_few_is_an_error_and_not_the_end(batcher, model):
    model.go.set()
    with pytest.raises(InferenceError, match='0 answers to 1'):
        batcher.submit(request('short')).result(20)
    assert batcher.submit(request('next')).result(20) is not None


def test_closing_refuses_what_waits_and_finishes_what_runs(batcher, model):
    running, waiting = submit_behind_first(batcher, model, request('waits'))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(InferenceError, match='shutting down'):
        waiting.result(20)
    model.go.set()
    assert running.result(20) is not None
    closing.join(20)
    with pytest.raises(InferenceError, match='shutting down'):
        batcher.submit(request('late'))


def test_closing_with_a_cancelled_request_in_line(batcher, model):
    _, gone = submit_behind_first(batcher, model, request('gone'))
    gone.cancel()
    model.go.set()
    batcher.close()
    with pytest.raises(CancelledError):
        gone.result(20)


class Slow:
    """A model that takes 20 ms for every step, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, requests):
        """Answer one batch."""
        self.asked.append([(request.instruction, request.steps) for request in requests])
        time.sleep(0.02 * requests[0].steps)
        return [np.zeros(1)] * len(requests)


def test_fewer_steps_are_spent_only_on_a_late_answer_that_allows_them():
    model = Slow()
    batcher = Batcher(model, lambda request: request.steps, most=3)
    tight = {'slack_s': 0.05, 'least_steps': 2}
    try:
        for asked in (
            request('unknown pace', **tight),
            request('tight', **tight),
            request('in time', slack_s=50.0, least_steps=2),
            request('not allowed', slack_s=0.05),
            request('no deadline', least_steps=2),
        ):
            batcher.submit(asked).result(20)
    finally:
        batcher.close()
    assert [batch for (batch,) in model.asked] == [
        ('unknown pace', 10),
        ('tight', 2),
        ('in time', 10),
        ('not allowed', 10),
        ('no deadline', 10),
    ]


def test_only_those_that_allow_as_few_steps_share_a_hurried_batch(batcher, model):
    asked = [
        request('tight', slack_s=0.0, least_steps=2),
        request('allows', slack_s=0.1, least_steps=1),
        request('does not', slack_s=0.2),
        request('not as few', slack_s=0.3, least_steps=5),
    ]
    answers = submit_behind_first(batcher, model, *asked)
    model.go.set()
    for answer in answers:
        answer.result(20)
    assert model.batches[1:] == [['tight', 'allows'], ['does not', 'not as few']]


def test_the_pace_is_of_the_nearest_size_and_forgets_a_slow_batch():
    pace = Pace()
    assert pace.expected_s(10, 1) == 0.0
    for count, took_s in ((1, 0.1), (4, 0.2), (4, 0.4)):
        pace.learn(10, count, took_s)
    assert pace.expected_s(10, 2) == pytest.approx(0.1)
    assert pace.expected_s(10, 8) == pytest.approx(0.3)
    pace.learn(10, 1, 60.0)
    pace.learn(2, 1, 0.05)
    assert pace.expected_s(10, 1) == pytest.approx(0.25)
    assert pace.expected_s(2, 1) == pytest.approx(0.05)
