# SPDX-License-Identifier: Apache-2.0
"""Requests wait in line, run in batches, and never at the same time."""

from concurrent.futures import CancelledError
from dataclasses import replace
import threading

import numpy as np
import pytest

from xvla_ros.core.errors import InferenceError, ObservationError
from xvla_ros.serve.batcher import Batcher
from xvla_ros.serve.requests import InferenceRequest, RequestError


def request(name, steps=10):
    return InferenceRequest(
        images=(), proprio=np.zeros(20), instruction=name, domain_id=0, steps=steps
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
