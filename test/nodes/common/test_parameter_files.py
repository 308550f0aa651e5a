# SPDX-License-Identifier: Apache-2.0
"""One file means the same to tools and to nodes, or both refuse it in one line."""

import itertools
import random
import re
import subprocess
import sys

from counts import FULL
import pytest
import rclpy
from rclpy.node import Node

from xvla_ros.core.embodiment import load_embodiment, parse_override
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.nodes.common.parameters import read_embodiment
from xvla_ros.nodes.common.running import initialise

pytestmark = pytest.mark.ros
VARIANTS = 1000 if FULL else 100
ROOT = shared_file('config', 'franka.yaml').parents[1]
FILES = sorted((ROOT / 'config').glob('*.yaml'))


def by_tools(path, overrides=None):
    """Return the embodiment, or the refusal."""
    try:
        return load_embodiment(path, overrides)
    except ConfigError as error:
        return error


def by_nodes(path, *arguments):
    """Return what a node makes of the file, as our nodes start."""
    context = rclpy.Context()
    try:
        words = ['policy_node', '--ros-args', '--params-file', str(path), *arguments]
        initialise(words, context=context)
        node = Node(
            'policy_node',
            context=context,
            automatically_declare_parameters_from_overrides=True,
            start_parameter_services=False,
            enable_rosout=False,
        )
        try:
            return read_embodiment(node)
        finally:
            node.destroy_node()
    except ConfigError as error:
        return error
    finally:
        rclpy.try_shutdown(context=context)


def agree(path):
    """Compare the two; return whether the file was taken."""
    tools, nodes = by_tools(path), by_nodes(path)
    if isinstance(tools, ConfigError):
        assert isinstance(nodes, ConfigError), f'only the tools refuse it: {tools}'
        for refusal in (tools, nodes):
            assert '\n' not in str(refusal), refusal
        return False
    assert not isinstance(nodes, ConfigError), f'only the nodes refuse it: {nodes}'
    assert tools == nodes
    return True


SCALARS = r"""
~ null Null "" '' 5e-1 5.0e-1 1_0.0 .5 +0.5 0x1 01 08 0o17 0b1 1:00 1e999 .inf -.inf .nan nan
yes no on Off y N true TRUE tRUE 42 "42" !!str 42 !!int "4" 2026-01-01 = << *x &x 5 !x 5 [] {}
[1, 2.0] [1, 2, 3] [1.0, 2.0, 3.0] [a, b] [~] [yes, no] [[1]] [{a: 1}] {a: 1} {a: {b: 1}}
| > @x `x %x é 😀 "\u00e9" "\0" arm-1/x /a//b a/ 1/x ~/x ~x {node}/x {x}/y topic:
topic:a-b -1 0 1 1.5 10000
99999999999999999999"""
SCALARS = re.findall(r'\[.*?\]+|\{.*?\}+(?:/x|/y)?|![^ ]* \S+|&x \S+|\S+', SCALARS)


def changed_value(text, draw):
    """Give a random key another value."""
    lines = text.splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if re.match(r'\s+\w+: \S', line)]
    row = draw.choice(rows)
    key = re.match(r'\s+\w+: ', lines[row])[0]
    lines[row] = f'{key}{draw.choice(SCALARS)}\n'
    return ''.join(lines)


def twice(text, draw):
    """Repeat a random line, perhaps with another value."""
    lines = text.splitlines(keepends=True)
    row = draw.randrange(3, len(lines))
    again = lines[row]
    if draw.random() < 0.5 and ': ' in again:
        again = f'{again.split(": ")[0]}: {draw.choice(SCALARS)}\n'
    return ''.join([*lines[: row + 1], again, *lines[row + 1 :]])


def without(text, draw):
    """Leave out a random line."""
    lines = text.splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    return ''.join(lines)


def shifted(text, draw):
    """Indent a random line differently."""
    lines = text.splitlines(keepends=True)
    row = draw.randrange(len(lines))
    lines[row] = draw.choice([' ', '  ', '\t', '        ', '- ']) + lines[row]
    return ''.join(lines)


def struck(text, draw):
    """Put a character of YAML, or of none, anywhere."""
    at = draw.randrange(len(text))
    return text[:at] + draw.choice('{}[],:#&*!|>\'"%@`-?~\t\n\r\0 é\ufeff\u2028') + text[at:]


def sectioned(text, draw):
    """Rename the section, or add another one."""
    names = ('policy_node', '/policy_node', '/**/policy_node', '/*', '/*/policy_node', 'other',
             'policy_*', '/**/', 'ns/policy_node', '""', '~', '/policy_node/')  # fmt: skip
    name = draw.choice(names)
    if draw.random() < 0.5:
        return text.replace('/**:', f'{name}:', 1)
    section = f'{name}:\n  ros__parameters:\n    limits.max_first_step_m: {draw.choice(SCALARS)}\n'
    return draw.choice([f'{section}{text}', f'{text}{section}', f'{text}---\n{section}'])


def dotted(text, draw):
    """Add a dotted name beside the blocks."""
    names = ('limits.max_first_step_m', 'control.estop_topic', 'policy.instruction', 'limits',
             'arms.arm.workspace_max_m', 'a.b.c', '.a', 'a.', 'robot.x', 'cameras.main.topic',
             'control.deadman_topic', 'policy.domain_id', 'camera_names')  # fmt: skip
    line = f'    {draw.choice(names)}: {draw.choice(SCALARS)}\n'
    return text.replace('  ros__parameters:\n', f'  ros__parameters:\n{line}', 1)


CHANGES = (changed_value, changed_value, twice, without, shifted, struck, sectioned, dotted)


def variants():
    """Yield seeds and changed files."""
    for seed in range(VARIANTS):
        draw = random.Random(seed)
        text = draw.choice(FILES).read_text(encoding='utf-8')
        for _ in range(draw.choice([1, 1, 2])):
            text = draw.choice(CHANGES)(text, draw)
        yield seed, text


def test_changed_files_mean_the_same_to_tools_and_nodes_or_are_refused_in_one_line(tmp_path):
    path, taken = tmp_path / 'robot.yaml', 0
    for seed, text in variants():
        path.write_text(text, encoding='utf-8')
        try:
            taken += agree(path)
        except Exception as error:
            raise AssertionError(f'variant {seed}: {type(error).__name__}: {error}') from error
    assert VARIANTS / 20 < taken < VARIANTS, 'the changes say nothing'


BYTES = {
    'utf-16': lambda text: text.encode('utf-16'),
    'a byte order mark': lambda text: text.encode('utf-8-sig'),
    'latin-1': lambda text: (text + '# \xe9\n').encode('latin-1'),
    'CRLF': lambda text: text.replace('\n', '\r\n').encode(),
    'a zero byte': lambda text: text.encode() + b'\0',
    'nothing': lambda text: b'',
    'noise': lambda text: bytes(random.Random(0).randrange(256) for _ in range(2000)),
    'cut short': lambda text: text.encode()[: len(text) // 2],
    'blocks without an end': lambda text: b'a: ' + b'{a: ' * 5000,
    'lists without an end': lambda text: b'[' * 5000,
    'another version': lambda text: b'%YAML 1.2\n---\n' + text.encode(),
    'two documents': lambda text: text.encode() + b'---\n{}\n',
    'an alias': lambda text: text.encode().replace(b'robot: franka', b'robot: *r', 1),
}


@pytest.mark.parametrize('how', BYTES)
def test_bytes_of_any_kind_mean_the_same_or_are_refused(tmp_path, how):
    path = tmp_path / 'robot.yaml'
    path.write_bytes(BYTES[how]((ROOT / 'config' / 'franka_sim.yaml').read_text()))
    agree(path)


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('control.estop_topic: ~', "'control.estop_topic' is null: for an empty text write ''"),
        ('control.deadman_topic: null', "'control.deadman_topic' is null"),
        ('policy.instruction: Null', "'policy.instruction' is null"),
        ('policy.instruction:', "'policy.instruction' has no value"),
        ('policy.instruction: 42', "'policy.instruction' must be text, got 42: put it in quotes"),
        ('limits.max_first_step_m: ~', "'limits.max_first_step_m' must be a number, got '~'"),
        ('camera_names: []', "'camera_names': rcl takes no empty list"),
        ('camera_names: [main, 1]', "'camera_names': rcl takes no list of int and str"),
        ('control.estop_topic: arm-1/estop', "'arm-1/estop' is no ROS name: '-' is not allowed"),
        ('control.estop_topic: estop/', "it ends in '/'"),
        ('control.estop_topic: /1st/estop', "a part after '/' begins with a digit"),
    ],
)
def test_what_is_refused_says_what_to_write(tmp_path, line, words):
    path = tmp_path / 'robot.yaml'
    text = (ROOT / 'config' / 'franka_sim.yaml').read_text()
    path.write_text(text.replace('    robot:', f'    {line}\n    robot:', 1))
    for refusal in (by_tools(path), by_nodes(path)):
        assert words in str(refusal)


@pytest.mark.parametrize(
    'topic', ['estop', '/estop', 'arm_1/estop', '~/estop', '{node}/estop', "''"]
)
def test_a_topic_that_ros_takes_is_taken(tmp_path, topic):
    path = tmp_path / 'robot.yaml'
    text = (ROOT / 'config' / 'franka_sim.yaml').read_text()
    line = f'control.estop_topic: "{topic}"' if topic != "''" else "control.estop_topic: ''"
    path.write_text(text.replace('    robot:', f'    {line}\n    robot:', 1))
    assert agree(path)


@pytest.mark.parametrize(
    ('name', 'text', 'value'),
    [
        ('limits.max_linear_speed_m_s', '5e-2', 0.05),
        ('limits.max_linear_speed_m_s', '1', 1.0),
        ('policy.domain_id', '0x1', 1),
        ('control.start_armed', 'no', False),
        ('arms.arm.workspace_max_m', '[1, 0.8, 1]', (1.0, 0.8, 1.0)),
        ('camera_names', '[main, wrist]', ('main', 'wrist')),
    ],
)
def test_a_value_on_the_command_line_means_what_it_means_to_a_node(name, text, value):
    path = ROOT / 'config' / 'franka_sim.yaml'
    told = by_tools(path, {name: parse_override(name, text)})
    at = told
    for part in name.split('.'):
        at = at[part] if isinstance(at, dict) else getattr(at, part)
    assert at == value
    if text != '[1, 0.8, 1]':  # rcl takes no mixed lists
        assert by_nodes(path, '-p', f'{name}:={text}') == told


@pytest.mark.parametrize(
    'text', ['42', 'no', 'pick: the cup', '~ 5', "it's 'so'", '5e-1', '😀', '']
)
def test_an_instruction_on_the_command_line_is_taken_literally(text):
    path = ROOT / 'config' / 'franka_sim.yaml'
    told = load_embodiment(
        path, {'policy.instruction': parse_override('policy.instruction', text)}
    )
    assert told.policy.instruction == text


COMMANDS = [
    ('-m', 'xvla_ros.nodes.controller', '--ros-args', '--params-file', 'FILE'),
    ('-m', 'xvla_ros.nodes.policy', '--ros-args', '--params-file', 'FILE'),
    ('-m', 'xvla_ros.nodes.sim', '--ros-args', '--params-file', 'FILE'),
    ('-m', 'xvla_ros.tools.cli', 'doctor', '--no-model', '--embodiment', 'FILE'),
    ('-m', 'xvla_ros.nodes.controller', '--ros-args', '-p', 'a:=[1,'),
    ('-m', 'xvla_ros.nodes.controller', '--ros-args', '--params-file', '/nowhere.yaml'),
    ('-m', 'xvla_ros.nodes.controller', '--ros-args', '-r', '__ns:=/1-x'),
    ('-m', 'xvla_ros.nodes.controller', '--ros-args', '-r', '__node:=a-b'),
]


@pytest.mark.parametrize('command', COMMANDS, ids=lambda c: ' '.join(c[1:3] + c[-1:]))
def test_whatever_ros_refuses_at_the_start_is_one_line_and_exit_code_2(tmp_path, command):
    path = tmp_path / 'robot.yaml'
    text = (ROOT / 'config' / 'franka_sim.yaml').read_text()
    path.write_text(text.replace('    robot:', '    camera_names: [main, 1]\n    robot:', 1))
    words = [str(path) if word == 'FILE' else word for word in command]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert 'Traceback' not in output
    ours = [line for line in output.splitlines() if '[rcl]' not in line]
    assert len([*itertools.filterfalse(str.isspace, filter(None, ours))]) == 1, output
