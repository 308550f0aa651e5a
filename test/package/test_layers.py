# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, in the sources and in fresh interpreters; no robot has code of its own."""

import ast
from pathlib import Path
import subprocess
import sys

from missing_packages import optional_name
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'xvla_ros'
BENCH = ROOT / 'bench'
LAYERS = {  # layer: the layers it may import
    'core': set(),
    'model': {'core'},
    'control': {'core'},
    'sim': {'core', 'control'},
    'serve': {'core', 'model'},
    'bags': {'core'},
    'bringup': {'core'},
    'runtime': {'core', 'model', 'control', 'serve'},
    'inputs': {'core', 'control', 'serve', 'bags', 'runtime'},
    'replay': {'core', 'model', 'control', 'bags', 'runtime', 'inputs'},
    'data': {'core', 'control', 'serve', 'bags', 'runtime', 'inputs', 'replay'},
    'adapt': {'core', 'model', 'control', 'sim', 'bags', 'runtime', 'data'},
    'nodes': {
        *('core', 'model', 'control', 'sim', 'serve', 'bags', 'bringup', 'runtime', 'inputs'),
        *('msg', 'action', 'srv'),
    },
}
ABSENT = {  # layer: what must not even be loaded when all of it is imported
    'core': {'rclpy', 'torch', 'transformers', 'mujoco', 'pinocchio', 'cv2', 'PIL', 'matplotlib'},
    'model': {'rclpy', 'mujoco', 'pinocchio', 'cv2'},
    'control': {'rclpy', 'torch', 'transformers', 'mujoco'},
    'sim': {'rclpy', 'torch', 'transformers'},
    'serve': {'rclpy', 'mujoco', 'pinocchio'},
    'bags': {'rclpy', 'torch', 'mujoco', 'pinocchio'},
    'bringup': {'rclpy', 'torch', 'mujoco', 'pinocchio'},
    'runtime': {'rclpy', 'mujoco'},
    'inputs': {'rclpy', 'torch', 'mujoco'},
    'replay': {'rclpy', 'mujoco'},
    'data': {'rclpy', 'torch', 'transformers', 'mujoco'},
    'adapt': {'rclpy'},
}
# Read by launch files only; `launch` comes with ROS and not from PyPI.
LAUNCH_ONLY = 'xvla_ros/bringup/launching.py'
# A driver gets a node and loads the interfaces it needs when it is made; never on import.
LAZY = {'xvla_ros/control/drivers': {'rclpy'}}


def sources(folder):
    return sorted((PACKAGE / folder).rglob('*.py'))


def imported(path):
    """Return every module that a file names in an import, lazy ones included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def test_every_folder_is_a_layer_or_uses_them_all():
    folders = {path.parent.name for path in PACKAGE.glob('*/*.py')}
    assert folders <= {*LAYERS, 'tools', 'testing'}


@pytest.mark.parametrize('layer', LAYERS)
def test_a_layer_imports_only_what_stands_before_it(layer):
    allowed = LAYERS[layer] | {layer}
    for path in sources(layer):
        used = {name.split('.')[1] for name in imported(path) if name.startswith('xvla_ros.')}
        used.discard('__version__')
        assert not used - allowed, f'{path.relative_to(ROOT)}: {used - allowed}'


@pytest.mark.parametrize('layer', ABSENT)
def test_a_layer_never_names_what_it_must_do_without(layer):
    for path in sources(layer):
        banned = ABSENT[layer] - LAZY.get(str(path.parent.relative_to(ROOT)), set())
        used = {name.split('.')[0] for name in imported(path)} & banned
        assert not used, f'{path.relative_to(ROOT)} imports {used}'


@pytest.mark.parametrize('layer', ABSENT)
def test_importing_a_layer_loads_nothing_it_must_do_without(layer):
    modules = [
        '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        for path in sources(layer)
        if path.name != '__main__.py' and str(path.relative_to(ROOT)) != LAUNCH_ONLY
    ]
    code = (
        'import importlib, sys\n'
        f'for name in {modules}: importlib.import_module(name)\n'
        f'print(sorted(set(sys.modules) & {ABSENT[layer]}))'
    )
    command = [sys.executable, '-c', code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if result.returncode and (name := optional_name(result.stderr)):
        pytest.skip(f'{name} is not installed')
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().splitlines()[-1] == '[]'


def test_no_relative_import_hides_a_layer():
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path.relative_to(ROOT)


def robot_names():
    """Return the name of every robot that has a file in config/, with and without _sim."""
    stems = {path.stem for path in (ROOT / 'config').glob('*.yaml')}
    return stems | {stem.removesuffix('_sim') for stem in stems}


def deciding_parts(node):
    """Return the parts of a node whose value decides what happens."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.MatchValue):
        return [node.value]
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.Subscript):
        return [node.slice]
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return node.args if is_method and node.func.attr in ('startswith', 'endswith', 'get') else []


def decisive_constants(tree):
    """Yield every string that code compares with, matches on, or looks up by."""
    parts = [part for node in ast.walk(tree) for part in deciding_parts(node)]
    for leaf in [leaf for part in parts for leaf in ast.walk(part)]:
        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
            yield leaf.value, leaf.lineno


def test_no_code_asks_for_the_name_of_a_robot():
    names = robot_names()
    assert names, 'config/ holds no embodiment'
    for path in [*PACKAGE.rglob('*.py'), *BENCH.rglob('*.py')]:
        for value, line in decisive_constants(ast.parse(path.read_text())):
            assert value not in names, f'{path.relative_to(ROOT)}:{line} branches on {value!r}'


@pytest.mark.parametrize(
    'code',
    [
        "if robot == 'franka': pass",
        "x = robot in ('widowx', 'franka')",
        "match robot:\n    case 'franka': pass",
        "table = {'franka': 1}",
        "table.get('franka')",
        "robot.startswith('franka')",
        "table['franka']",
    ],
)
def test_every_way_to_branch_on_a_name_would_be_found(code):
    assert 'franka' in {value for value, _ in decisive_constants(ast.parse(code))}
