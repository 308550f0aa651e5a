# SPDX-License-Identifier: Apache-2.0
"""The package as such: description, executables, configuration, launch files, tracked files."""

import ast
from pathlib import Path
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PREFIX = Path(sys.prefix)
NODES = ('policy_node', 'controller_node', 'sim_node')
# Keys of rosdep's base.yaml and python.yaml, and packages of the Jazzy distribution.
ROSDEP = {
    *(
        'ament_cmake',
        'ament_cmake_pytest',
        'ament_index_python',
        'action_msgs',
        'builtin_interfaces',
    ),
    *('control_msgs', 'cv_bridge', 'diagnostic_msgs', 'geometry_msgs', 'launch', 'launch_ros'),
    *('launch_testing_ament_cmake', 'lifecycle_msgs', 'rclpy', 'robot_state_publisher'),
    *(
        'ros2launch',
        'rosgraph_msgs',
        'rosidl_default_generators',
        'rosidl_default_runtime',
        'rviz2',
        'sensor_msgs',
    ),
    *('std_msgs', 'std_srvs', 'tf2_ros', 'trajectory_msgs', 'visualization_msgs'),
    *(
        'python3-hypothesis',
        'python3-matplotlib',
        'python3-numpy',
        'python3-opencv',
        'python3-pil',
    ),
    *('python3-psutil', 'python3-pytest', 'python3-scipy', 'python3-tqdm', 'python3-yaml'),
}
SUBCOMMANDS = (
    *('demo', 'serve', 'adapt', 'evaluate', 'replay', 'record'),
    *('report', 'inspect', 'convert', 'doctor', 'bench'),
)
# Modules that only some labs have: where one is absent, the error names its apt package.
OPTIONAL = {
    'franka_msgs',
    'interbotix_xs_msgs',
    'piper_msgs',
    'rosbag2_py',
    'rcl_interfaces',  # comes with rclpy
    'launch_testing',
    'rpyutils',
    'ray',  # xvla serve behind Ray Serve, for who has it
}
DISTRIBUTIONS = {
    'yaml': 'pyyaml',
    'PIL': 'pillow',
    'pinocchio': 'pin',
    'cv2': 'opencv-python-headless',
}


def package():
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def dependencies():
    return {node.text for node in package() if node.tag.endswith('depend')}


def imports(*folders):
    """Return the top-level modules that sources import; bench/ also runs in reference venvs."""
    found = set()
    paths = [p for folder in folders for p in (ROOT / folder).rglob('*.py')]
    for path in [p for p in paths if 'bench' not in p.parts]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split('.')[0])
    return found - set(sys.stdlib_module_names) - {'xvla_ros'}


def test_package_xml_is_format_3_of_an_ament_cmake_interface_package():
    root = package()
    assert root.get('format') == '3'
    assert root.findtext('name') == 'xvla_ros'
    assert root.findtext('export/build_type') == 'ament_cmake'
    assert root.findtext('member_of_group') == 'rosidl_interface_packages'
    assert root.findtext('license') == 'Apache-2.0'


def test_package_xml_satisfies_catkin_pkg():
    catkin_package = pytest.importorskip('catkin_pkg.package', reason='comes with colcon')
    warnings = []
    assert catkin_package.parse_package(str(ROOT), warnings=warnings).name == 'xvla_ros'
    assert warnings == []


def test_every_dependency_is_a_rosdep_key():
    assert dependencies() <= ROSDEP, dependencies() - ROSDEP


def test_every_ros_module_in_use_is_a_dependency():
    pinned = pinned_names()
    used = {name for name in imports('xvla_ros', 'launch') if distribution(name) not in pinned}
    missing = used - dependencies() - OPTIONAL
    assert not missing, f'package.xml does not name {missing}'


def distribution(module):
    return DISTRIBUTIONS.get(module, module.replace('_', '-'))


def pinned_names():
    texts = [path.read_text() for path in (ROOT / 'requirements').glob('*.in')]
    return {
        re.split(r'[=\[]', line)[0] for text in texts for line in text.splitlines() if '==' in line
    }


def test_direct_dependencies_are_exact_pins_and_in_the_lock():
    lock = (ROOT / 'requirements' / 'lock.txt').read_text()
    for path in (ROOT / 'requirements').glob('*.in'):
        for line in path.read_text().splitlines():
            if not line or line.startswith(('#', '-r')):
                continue
            name, version = re.fullmatch(
                r'([a-z0-9-]+)(?:\[\w+\])?==([\w.]+)(?: ; .*)?', line
            ).groups()
            assert re.search(rf'^{name}=={re.escape(version)}( ;|$)', lock, re.MULTILINE), line


@pytest.mark.parametrize('name', NODES)
def test_each_node_has_an_installed_executable(name):
    script = (ROOT / 'scripts' / name).read_text()
    module = re.search(r'from (xvla_ros\.nodes\.\w+) import main', script).group(1)
    source = ROOT / Path(*module.split('.')).with_suffix('.py')
    functions = {
        n.name for n in ast.parse(source.read_text()).body if isinstance(n, ast.FunctionDef)
    }
    assert 'main' in functions
    installed = PREFIX / 'lib' / 'xvla_ros' / name
    if not installed.parent.exists():
        pytest.skip('not built into this environment')
    assert installed.stat().st_mode & 0o111
    assert str(PREFIX) in installed.read_text().splitlines()[1]


def test_the_command_starts_from_anywhere(tmp_path):
    command = PREFIX / 'bin' / 'xvla'
    if not command.exists():
        pytest.skip('not built into this environment')
    result = subprocess.run(
        [command, '--help'], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    for name in SUBCOMMANDS:
        assert re.search(rf'\b{name}\b', result.stdout), f'xvla --help does not name {name}'


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'config').glob('*.yaml')), ids=lambda path: path.name
)
def test_a_configuration_is_a_ros_parameter_file(path):
    content = yaml.safe_load(path.read_text())
    assert all('ros__parameters' in block for block in content.values())


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'launch').glob('*.py')), ids=lambda path: path.name
)
def test_a_launch_file_compiles_and_describes(path):
    tree = ast.parse(path.read_text(), filename=str(path))
    compile(tree, str(path), 'exec')
    assert 'generate_launch_description' in {
        n.name for n in tree.body if isinstance(n, ast.FunctionDef)
    }


def tracked_texts():
    listing = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip('not a git checkout')
    for name in listing.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.stat().st_size < 2_000_000:
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue


def test_nothing_tracked_names_a_machine_or_a_package_host():
    hosts = '|'.join(('pypi' + r'\.org', 'python' + 'hosted', 'index' + '-url', 'opt/py' + 'pi'))
    folders = '|'.join(('/wo' + 'rk/', '/ro' + 'ot/', r'/ho' + r'me/\w', '/tm' + 'p/x/'))
    pattern = re.compile(rf'{hosts}|(?<![\w.$}}])(?:{folders})')
    for name, text in tracked_texts():
        found = pattern.search(text)
        assert not found, f'{name} names {found.group()!r}'
