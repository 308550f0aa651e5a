# SPDX-License-Identifier: Apache-2.0
"""An embodiment file is right in full, or refused with the culprit's name."""

from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from hypothesis import given
from hypothesis import strategies as st
import pytest
import yaml

from xvla_ros.core.embodiment import (
    Embodiment,
    embodiment_from_parameters,
    load_embodiment,
    read_parameter_file,
)
from xvla_ros.core.errors import ConfigError

CONFIG = Path(__file__).parents[2] / 'config'
GOOD = read_parameter_file(CONFIG / 'franka_sim.yaml')
NAMES = {'arms': 'arm', 'cameras': 'main'}


def settings_fields(kind=Embodiment, path=''):
    """Yield (path, type, field) of every setting, blocks under their names in the file."""
    hints = get_type_hints(kind)
    for f in fields(kind):
        hint, where = hints[f.name], f'{path}.{f.name}'.lstrip('.')
        if get_origin(hint) not in (None, tuple, dict):
            hint = next(t for t in get_args(hint) if t is not type(None))
        if get_origin(hint) is dict and f.name not in NAMES:
            continue  # a block that the Franka lacks: test_joint_settings.py
        if get_origin(hint) is dict:
            hint, where = get_args(hint)[1], f'{where}.{NAMES[f.name]}'
        if is_dataclass(hint):
            yield from settings_fields(hint, where)
        else:
            yield where, hint, f


LEAVES = [(where, hint, f) for where, hint, f in settings_fields()]
BY_PATH = {where: (hint, f) for where, hint, f in LEAVES}
paths = st.sampled_from(sorted(BY_PATH))
values = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.none(),
    st.lists(st.booleans() | st.integers() | st.floats() | st.text(max_size=4), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


def put(path, value):
    """Return the Franka's parameters with one changed."""
    parameters = deepcopy(GOOD)
    *parents, leaf = path.split('.')
    block = parameters
    for parent in parents:
        block = block[parent]
    block[leaf] = value
    return parameters


def at(embodiment, path):
    """Return one setting of an embodiment."""
    for name in path.split('.'):
        embodiment = (
            embodiment[name] if isinstance(embodiment, dict) else getattr(embodiment, name)
        )
    return embodiment


@pytest.mark.parametrize('path', sorted(BY_PATH))
def test_a_value_of_the_wrong_type_is_refused_by_name(path):
    hint, _ = BY_PATH[path]
    item = get_args(hint)[0] if get_origin(hint) is tuple else hint
    wrong = {
        float: (2**53 + 1, '1.0', True, None),
        int: (1.0, '1', True, None),
        bool: (1, 'yes', None),
    }
    for value in (*wrong.get(item, (1, True, None)), {'a': 1}):
        listed = [value] if item is not hint else value
        with pytest.raises(ConfigError) as raised:
            embodiment_from_parameters(put(path, listed), 'test.yaml')
        assert path in str(raised.value)
        assert 'test.yaml' in str(raised.value)


@given(paths, values)
def test_any_value_is_taken_as_it_is_or_refused_by_name(path, value):
    try:
        embodiment = embodiment_from_parameters(put(path, value), 'test.yaml')
    except ConfigError as refusal:
        message = str(refusal)
    else:
        message = ''
    if message:
        assert 'test.yaml' in message
        return
    kept, hint = at(embodiment, path), BY_PATH[path][0]
    assert kept == (tuple(value) if isinstance(value, list) else value)
    kinds = {get_args(hint)[0] if isinstance(kept, tuple) else hint}
    assert {type(each) for each in (kept if isinstance(kept, tuple) else (kept,))} <= kinds


@given(paths, st.data())
def test_an_unknown_key_is_refused_with_the_nearest_known_one(path, data):
    *parents, leaf = path.split('.')
    if len(leaf) < 5:
        return
    where = data.draw(st.integers(0, len(leaf) - 1))
    typo = leaf[:where] + leaf[where + 1 :]
    if '.'.join([*parents, typo]) in BY_PATH:
        return
    with pytest.raises(ConfigError) as raised:
        embodiment_from_parameters(put('.'.join([*parents, typo]), 1), 'test.yaml')
    assert f"unknown key '{'.'.join([*parents, typo])}'" in str(raised.value)
    assert 'did you mean' in str(raised.value)


@pytest.mark.parametrize('path', sorted(BY_PATH))
def test_what_lies_beyond_a_range_or_the_choices_is_refused(path):
    hint, field = BY_PATH[path]
    low, high, choices = (field.metadata.get(k) for k in ('low', 'high', 'choices'))
    wrong = [
        *([type(low)(low) - 1 if hint is int else float(low) - 1e-3] if low is not None else []),
        *(
            [type(high)(high) + 1 if hint is int else float(high) + 1e-3]
            if high is not None
            else []
        ),
        *(['none of them'] if choices else []),
        *([float('nan'), float('inf')] if hint is float else []),
    ]
    for value in wrong:
        with pytest.raises(ConfigError) as raised:
            embodiment_from_parameters(put(path, value), 'test.yaml')
        assert path in str(raised.value)


def test_every_setting_is_described():
    for where, _, field in LEAVES:
        assert len(field.metadata.get('description', '')) > 10, where


@pytest.mark.parametrize(
    'path', ['robot', 'policy.domain_id', 'policy.anchor_period_s', 'arms.arm.base_frame',
             'arms.arm.gripper.open_position', 'cameras.main.topic', 'limits', 'arms']
)  # fmt: skip
def test_what_has_no_default_must_be_there(path):
    parameters = put(path, None)
    *parents, leaf = path.split('.')
    block = parameters
    for parent in parents:
        block = block[parent]
    del block[leaf]
    with pytest.raises(ConfigError, match=f"missing key '{path}"):
        embodiment_from_parameters(parameters, 'test.yaml')


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('arm_names', ['arm', 'arm2'], "arms has blocks .'arm'. but"),
        ('arm_names', ['a', 'b', 'c'], 'one or two arms'),
        ('camera_names', ['main'], 'cameras has blocks'),
        ('arms.arm.workspace_min_m', [0.9, -0.45, 0.02], 'must be below'),
        ('arms.arm.workspace_min_m', [0.9, -0.45], 'must hold 3 numbers, got 2'),
        ('arms.arm.half_spaces', [1.0, 0.0, 0.0], 'rows of 4'),
        ('arms.arm.base_from_policy', [1.0] * 16, 'rotation and a translation'),
        ('arms.arm.policy_from_tool', [1.0, 0.0], 'must hold 16 numbers'),
        ('arms.arm.home_rad', [0.0], 'must hold 7 numbers'),
        ('arms.arm.gripper.closed_probability', 0.5, r'0\.0 or 1\.0'),
        ('arms.arm.gripper.open_position', 0.0, 'equal'),
        ('arms.arm.pose_topic', '', 'needs pose_topic'),
        ('control.strategy', 'blended', "did you mean 'blend'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(path, value, message):
    with pytest.raises(ConfigError, match=message):
        embodiment_from_parameters(put(path, value), 'test.yaml')


def test_dotted_and_nested_parameters_are_the_same():
    def flat(block, prefix=''):
        for key, value in block.items():
            if isinstance(value, dict):
                yield from flat(value, f'{prefix}{key}.')
            else:
                yield f'{prefix}{key}', value

    nested = embodiment_from_parameters(GOOD, 'nested')
    assert embodiment_from_parameters(dict(flat(GOOD)), 'dotted') == nested
    ros = {**dict(flat(GOOD)), 'use_sim_time': True}
    assert embodiment_from_parameters(ros, 'a node') == nested


def test_an_override_replaces_one_value_and_is_checked():
    path = CONFIG / 'franka_sim.yaml'
    assert load_embodiment(path, {'control.rate_hz': 20.0}).control.rate_hz == 20.0
    with pytest.raises(ConfigError, match=r'control\.rate_hz'):
        load_embodiment(path, {'control.rate_hz': '20'})
    with pytest.raises(ConfigError, match='is a value, not a block'):
        load_embodiment(path, {'robot.name': 'x'})


def test_a_whole_number_is_a_float_where_one_belongs_and_not_the_other_way_round():
    path = CONFIG / 'franka_sim.yaml'
    corner = {'arms.arm.workspace_min_m': [0, -1, 0.02]}
    embodiment = load_embodiment(path, {'control.rate_hz': 20, **corner})
    assert (embodiment.control.rate_hz, type(embodiment.control.rate_hz)) == (20.0, float)
    assert [type(each) for each in embodiment.arms['arm'].workspace_min_m] == [float] * 3
    with pytest.raises(ConfigError, match=r"'policy\.threads' must be a whole number, got 1\.0"):
        load_embodiment(path, {'policy.threads': 1.0})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'cannot read'),
        ('{', 'not valid YAML'),
        ('[1, 2]', r"expected sections such as '/\*\*:'"),
        ('policy_node: {ros__parameters: {}}', r"expected a '/\*\*:' block.*policy_node"),
        ('/**: {ros__parameters: 3}', r"'ros__parameters' must hold a block"),
        ('\x80', 'not valid YAML|cannot read'),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / 'robot.yaml'
    if text is not None:
        path.write_text(text, encoding='latin-1')
    with pytest.raises(ConfigError, match=message) as raised:
        load_embodiment(path)
    assert 'robot.yaml' in str(raised.value)


def test_a_written_embodiment_reads_back(tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': GOOD}}))
    assert load_embodiment(path) == load_embodiment(CONFIG / 'franka_sim.yaml')


@pytest.mark.parametrize('change', ['sim.arms.arm.base_yaw_rad', 'arms.arm.base_in_world'])
def test_an_arm_that_stands_elsewhere_in_the_simulation_is_refused(change):
    elsewhere = 0.5 if change.endswith('yaw_rad') else [0.0, 0.0, 0.0, 0.5]
    with pytest.raises(ConfigError, match=r"'arms\.arm\.base_in_world'.*'sim\.arms\.arm' puts"):
        embodiment_from_parameters(put(change, elsewhere), 'test.yaml')


@pytest.mark.parametrize(
    ('change', 'value', 'words'),
    [
        ('sim.cameras.wrist.mount', 'hand', r"'sim\.cameras\.wrist\.mount' is 'hand'.*\['arm'\]"),
        ('sim.arms.arm.finger_open_m', [0.04], r"'sim\.arms\.arm': finger_open_m must hold 2"),
        ('sim.arms.arm.finger_open_m', [0.0, 0.0], 'finger_open_m to differ'),
        ('sim.arms.arm.base_position_m', [0.0], 'base_position_m must hold 3'),
        ('sim.arms.arm.block_min_m', [0.9, 0.0], 'block_min_m .* must be below block_max_m'),
        ('sim.cameras.main.position_m', [1.0, 0.0], 'position_m must hold 3'),
        ('sim.cameras.main.up', [0.0, 0.0, 0.0], r"'sim\.cameras\.main': .* is no view"),
        ('sim.table_max_m', [0.9], 'table_max_m must hold 2'),
    ],
)
def test_a_simulation_that_cannot_be_built_is_refused_by_its_key(change, value, words):
    with pytest.raises(ConfigError, match=words):
        embodiment_from_parameters(put(change, value), 'test.yaml')
