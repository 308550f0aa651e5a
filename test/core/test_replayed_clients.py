# SPDX-License-Identifier: Apache-2.0
"""The chunk queue keeps what it promises against its peers, in a short run of the bench."""

import pytest

from bench.lerobot_queue import load_client
from bench.realtime import CLIENTS, simulate
from bench.reference_environment import MissingReferenceError


@pytest.fixture(scope='module')
def rows():
    """Simulate all clients that are there, for half a minute at the published latency."""
    clients = dict(CLIENTS)
    try:
        load_client()
    except MissingReferenceError:
        clients = {name: clients[name] for name in ('ours', 'sync')}
    return simulate(clients, 114, seeds=(0,), duration_s=20.0)


def test_ours_is_smoother_and_more_current_than_waiting(rows):
    ours, sync = rows['ours'], rows['sync']
    assert ours['jerk_rms'] < sync['jerk_rms'] / 20
    assert ours['reaction_ms'] < sync['reaction_ms'] / 2
    assert ours['action_age_ms'] < sync['action_age_ms'] / 2.5
    assert ours['starved_ticks'] == 0 < sync['starved_ticks']


def test_ours_beats_lerobots_own_queue(rows):
    if 'lerobot' not in rows:
        pytest.skip('no .venv-reference: make bench creates it')
    ours, raw, smooth = rows['ours'], rows['lerobot'], rows['lerobot_interpolated']
    assert ours['jerk_rms'] < raw['jerk_rms'] / 20
    assert ours['jerk_rms'] < smooth['jerk_rms'] / 4
    assert ours['switch_step_p99_mm'] < smooth['switch_step_p99_mm']
    assert ours['action_age_ms'] < smooth['action_age_ms'] / 2


def test_lerobots_queue_is_its_own_code_and_averages_as_it_says():
    try:
        client, action, average = load_client()
    except MissingReferenceError as error:
        pytest.skip(str(error))
    assert average(1.0, 2.0) == pytest.approx(0.3 * 1.0 + 0.7 * 2.0)
    assert client._aggregate_action_queues.__code__.co_filename.endswith('robot_client.py')
    assert action(timestamp=1.0, timestep=2, action=3).get_timestep() == 2
