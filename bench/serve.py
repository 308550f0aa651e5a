# SPDX-License-Identifier: Apache-2.0
"""
The server under load: batches over one at a time, and deadlines over first come, first served.

Throughput is of the demo policy in this process, asked by closed-loop clients. Deadlines are met
or missed by the real batcher in front of a model that only takes the time that the demo policy
took: robots ask at random times, with plans of random length. How many robots one server bears is
measured the same way, with the times of batches: each robot asks once a period, and its plan ends
one period later.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.model import load_policy, Policy
from xvla_ros.serve.batcher import Batcher, Predict
from xvla_ros.serve.batching import answers, batch_key
from xvla_ros.serve.requests import InferenceRequest

CLIENTS, BATCH, STEPS = 8, 8, 4
MEASURE_S, LOAD_S = 12.0, 12.0
CURVE = (1, 2, 4, 8, 16, 32, 64)
# How long robots' plans last when they ask [s]: from nearly over to a whole chunk.
SLACK_S = (0.15, 3.0)
PERIOD_S = 1.0
LOADS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1)
# One entry of `make bench` by the names of its numbers.
Figures = dict[str, Any]


def run() -> dict[str, Figures]:
    """Return the figures of `make bench`."""
    policy = load_policy(checkpoint_folder('demo_policy'))
    curve = {clients: throughput(policy, clients, BATCH) for clients in CURVE}
    one_at_a_time = throughput(policy, CLIENTS, 1)
    return {
        'serve.throughput': throughput_figures(curve[CLIENTS], one_at_a_time),
        'serve.p99': latency_figures(curve[CLIENTS], curve[1]),
        'serve.deadline_missed_percent': deadline_figures(1 / curve[1]['per_s']),
        'serve.robots': robot_figures({n: n / curve[n]['per_s'] for n in CURVE if n <= BATCH}),
        'serve.curve': curve_figures(curve),
    }


def throughput_figures(batched: Figures, one_at_a_time: Figures) -> Figures:
    """Compare the throughput of CLIENTS clients in batches with that of single requests."""
    return {
        'ours': batched['per_s'] / one_at_a_time['per_s'],
        'unit': 'x',
        'n': batched['n'],
        'batched_per_s': batched['per_s'],
        'single_per_s': one_at_a_time['per_s'],
    }


def latency_figures(batched: Figures, single: Figures) -> Figures:
    """Compare the 99th percentile of the latency with that of a client alone."""
    return {
        'ours': batched['p99_ms'] / single['p99_ms'],
        'unit': 'x single',
        'n': batched['n'],
        'p99_ms': batched['p99_ms'],
        'single_p99_ms': single['p99_ms'],
    }


def deadline_figures(cost_s: float) -> Figures:
    """Return the share of late answers [%] by deadline; `anchor` is that by order of arrival."""
    fifo, deadline, load = deadlines(cost_s)
    return {
        'ours': deadline,
        'unit': '%',
        'n': round(LOAD_S * load / cost_s),
        'anchor': fifo,
        'load': load,
    }


def robot_figures(batch_s: Mapping[int, float]) -> Figures:
    """Return the largest number of robots of which no answer was late (see `robots_late`)."""
    late = {n: robots_late(batch_s, n) for n in CURVE}
    return {
        'ours': max((n for n, percent in late.items() if percent == 0.0), default=0),
        'unit': 'robots',
        'n': round(LOAD_S / PERIOD_S) * sum(CURVE),
        'plan_slack_s': PERIOD_S,
        **{f'late_percent_{n}': round(percent, 2) for n, percent in late.items()},
    }


def curve_figures(curve: Mapping[int, Figures]) -> Figures:
    """Return answers per second [1/s], p50 and p99 [ms] by number of clients."""
    shown = ('per_s', 'p50_ms', 'p99_ms')
    return {
        'ours': max(row['per_s'] for row in curve.values()),
        'unit': '1/s',
        'n': sum(row['n'] for row in curve.values()),
        **{f'clients_{n}': [round(row[k], 1) for k in shown] for n, row in curve.items()},
    }


def request(number: int) -> InferenceRequest:
    """Return the question of one robot: three views, words of its own."""
    random = np.random.default_rng(number)
    return InferenceRequest(
        images=tuple(random.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(2)),
        proprio=np.zeros(20, np.float32),
        instruction='pick up the red block',
        domain_id=0,
        steps=STEPS,
    )


def throughput(policy: Policy, clients: int, batch: int) -> Figures:
    """Return answers per second and latencies of clients that ask again as soon as answered."""
    batcher = Batcher(partial(answers, policy), batch_key, batch, waiting=128)
    latencies: list[float] = []
    stop_s = time.monotonic() + MEASURE_S

    def ask(number: int) -> None:
        asked = request(number)
        while time.monotonic() < stop_s:
            begun_s = time.monotonic()
            batcher.submit(asked).result()
            latencies.append(time.monotonic() - begun_s)

    begun_s = time.monotonic()
    run_threads(ask, range(clients))
    took_s = time.monotonic() - begun_s
    batcher.close()
    p50, p99 = np.percentile(latencies, (50, 99)) * 1000
    return {'per_s': len(latencies) / took_s, 'p50_ms': p50, 'p99_ms': p99, 'n': len(latencies)}


def deadlines(cost_s: float) -> tuple[float, float, float]:
    """Return the share [%] missed by order of arrival and by deadline, and the load for it."""
    fifo = ours = load = 0.0
    for load in LOADS:
        fifo = missed(cost_s, load, by_deadline=False)
        if fifo >= 5.0:
            ours = missed(cost_s, load, by_deadline=True)
            break
    return fifo, ours, load


def missed(cost_s: float, load: float, *, by_deadline: bool) -> float:
    """Return how many answers [%] came after the end of their robot's plan."""
    random = np.random.default_rng(1)
    batcher = Batcher(slow_model({1: cost_s}), lambda _: None, 1, waiting=1000)
    late: list[bool] = []
    asked = request(0)
    count = round(LOAD_S * load / cost_s)
    times = np.sort(random.uniform(0.0, LOAD_S, count)) + time.monotonic()
    slacks = random.uniform(*SLACK_S, count)
    waiting: list[Future[NDArray[np.float32]]] = []
    for at_s, slack_s in zip(times, slacks, strict=True):
        time.sleep(max(0.0, at_s - time.monotonic()))
        due_s = time.monotonic() + slack_s
        told = replace(asked, slack_s=float(slack_s) if by_deadline else None)
        future = batcher.submit(told)
        future.add_done_callback(lambda _, due_s=due_s: late.append(time.monotonic() > due_s))
        waiting.append(future)
    for future in waiting:
        future.result()
    batcher.close()
    return 100 * sum(late) / len(late)


def robots_late(batch_s: Mapping[int, float], robots: int) -> float:
    """
    Return how many answers [%] came more than PERIOD_S after the robot had asked.

    :param batch_s: how long a batch of so many requests takes [s].
    """
    batcher = Batcher(slow_model(batch_s), batch_key, BATCH, waiting=1000)
    asked, late = replace(request(0), slack_s=PERIOD_S), []

    def ask(start_s: float) -> None:
        for count in range(round(LOAD_S / PERIOD_S)):
            time.sleep(max(0.0, start_s + count * PERIOD_S - time.monotonic()))
            begun_s = time.monotonic()
            batcher.submit(asked).result()
            late.append(time.monotonic() - begun_s > PERIOD_S)

    starts = np.random.default_rng(1).uniform(0.0, PERIOD_S, robots) + time.monotonic()
    run_threads(ask, starts.tolist())
    batcher.close()
    return 100 * sum(late) / len(late)


def run_threads(work: Callable[[Any], None], arguments: Iterable[Any]) -> None:
    """Call a function in one thread per argument, and wait until all have ended."""
    threads = [threading.Thread(target=work, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def slow_model(batch_s: Mapping[int, float]) -> Predict:
    """Return a model that takes as long as the nearest known size of batch, for each request."""

    def predict(requests: Sequence[InferenceRequest]) -> list[NDArray[np.float32]]:
        size = min(batch_s, key=lambda known: abs(known - len(requests)))
        time.sleep(batch_s[size] / size * len(requests))
        return [np.zeros((1, 20), np.float32)] * len(requests)

    return predict
