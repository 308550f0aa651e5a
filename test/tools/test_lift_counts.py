# SPDX-License-Identifier: Apache-2.0
"""What an evaluation over ROS counts and writes, and how long an episode waits for a lift."""

from argparse import ArgumentParser

import pytest

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.demo.judge import DESCEND_S, LIFT_S, LOW_M, Patience
from xvla_ros.tools.demo.report import Episode, result_of, Run
from xvla_ros.tools.evaluate import closed_loop, command, open_loop, over_ros

EPISODES = [
    Episode(number=0, instruction='', succeeded=True, lifted=True),
    Episode(number=1, instruction='', succeeded=True, outcome='canceled'),
    Episode(number=2, instruction='', wrong=('blue',), outcome='timed out'),
    Episode(number=3, instruction='', lifted=True, wrong=('blue',)),
]


def parsed(*words):
    parser = ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_an_evaluation_counts_lifts_wrong_blocks_and_reaches():
    run = Run(
        episodes=EPISODES, real_time_factor=0.98, moved_while_holding_mm=0.0, controller_stops=0
    )
    result = over_ros.summary('franka', run, parsed('--ros', '--seed', '4'))
    assert (result['episodes'], result['lifts'], result['wrong_colour']) == (4, 2, 2)
    assert result['reached'] == 2
    assert result['not_lifted'] == [1, 2]
    assert result['seed'] == 4
    low, high = result['lifts_95']
    assert 0.1 < low < 0.5 < high < 0.9
    assert '2 lifted (15% to 85%)' in over_ros.describe(result)


def test_words_for_what_came_of_an_episode():
    assert [result_of(e) for e in EPISODES] == ['lifted', 'reached', 'took blue', 'took blue']
    assert result_of(Episode(number=0, instruction='', outcome='timed out')) == 'timed out'


def test_the_demo_is_given_what_the_evaluation_was_asked_for():
    args = over_ros.demo_arguments(
        'agilex', parsed('--ros', '--task', 'bimanual', '--limit', '9', '--row', '2')
    )
    assert (args.task, args.time_limit, args.embodiment) == ('bimanual', 9.0, 'agilex')
    assert dict(args.set)['policy.domain_id'] == 2
    assert args.out.name == 'agilex-bimanual'


def test_what_is_measured_follows_from_the_arguments():
    assert command.kind_of(parsed()) is closed_loop.evaluate_all
    assert command.kind_of(parsed('--simulated', '3')) is open_loop.evaluate
    assert command.kind_of(parsed('--ros')) is over_ros.evaluate
    with pytest.raises(ConfigError, match='--ros drives a robot'):
        command.kind_of(parsed('--ros', '--simulated', '3'))


def test_a_policy_that_stays_above_its_block_is_not_waited_for():
    patience = Patience()
    assert not patience.ended(100.0, reached=False, above_m=0.1)
    assert not patience.ended(101.0, reached=True, above_m=0.07)
    assert not patience.ended(101.0 + DESCEND_S, reached=True, above_m=0.07)
    assert patience.ended(101.1 + DESCEND_S, reached=True, above_m=0.07)


def test_a_policy_that_goes_down_has_time_to_lift():
    patience = Patience()
    assert not patience.ended(1.0, reached=True, above_m=LOW_M / 2)
    assert not patience.ended(1.0 + LIFT_S, reached=True, above_m=0.1)
    assert patience.ended(1.1 + LIFT_S, reached=True, above_m=0.1)
