# SPDX-License-Identifier: Apache-2.0
"""The package as such: description, executables, configuration, launch files, tracked files."""

import ast
from pathlib import Path
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from packaging.requirements import Requirement
import pytest
import rosdep_facts
import yaml

import xvla_ros

ROOT = Path(__file__).resolve().parents[2]
PREFIX = Path(sys.prefix)
NODES = ('policy_node', 'controller_node', 'sim_node')
SUBCOMMANDS = (
    *('demo', 'serve', 'adapt', 'evaluate', 'replay', 'record'),
    *('report', 'fetch', 'inspect', 'convert', 'joints', 'doctor', 'bench'),
    *('export', 'tune', 'check', 'convert-data'),
)
# Modules that only some labs have: where one is absent, the error names its apt package.
OPTIONAL = {
    'franka_msgs',
    'interbotix_xs_msgs',
    'piper_msgs',
    'rosbag2_py',
    'rcl_interfaces',  # comes with rclpy
    'coal',  # comes with pinocchio
    'launch_testing',
    'rpyutils',
    'ray',  # xvla serve behind Ray Serve, for who has it
    *('onnxruntime', 'openvino', 'onnx', 'onnxscript'),  # policy.backend, xvla export
    *('accelerate', 'peft'),  # xvla adapt with several processes, or with --lora
}
RANGES = ('core', 'runtime', 'opencv')  # what the wheel needs; the other files pin
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
    """Return the top-level modules that the sources of folders import."""
    found = set()
    for path in [p for folder in folders for p in (ROOT / folder).rglob('*.py')]:
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
    known = rosdep_facts.ROS | rosdep_facts.APT | rosdep_facts.PIP
    assert dependencies() <= known, dependencies() - known


def test_every_apt_package_that_is_named_exists():
    """In sources, pages and scripts: ros-jazzy-NAME is a package that Jazzy has released."""
    files = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md'), ROOT / 'Dockerfile']
    files += [p for top in ('xvla_ros', 'launch') for p in (ROOT / top).rglob('*.py')]
    named = {
        n for p in files for n in re.findall(r'ros-jazzy-([a-z0-9-]*[a-z0-9])', p.read_text())
    }
    named |= set(bootstrap_modules().values())
    names = {name.replace('-', '_') for name in named}
    assert {'sensor_msgs', 'pinocchio', 'moveit_msgs'} <= names
    assert names <= rosdep_facts.ROS | rosdep_facts.JAZZY, names - rosdep_facts.ROS


def bootstrap_modules():
    """Return what scripts/bootstrap.py looks for on a machine with ROS: module to apt package."""
    tree = ast.parse((ROOT / 'scripts' / 'bootstrap.py').read_text())
    (value,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ROS_MODULES'
    ]
    return ast.literal_eval(value)


def test_every_ros_module_in_use_is_a_dependency():
    pinned = pinned_names()
    used = {name for name in imports('xvla_ros', 'launch') if distribution(name) not in pinned}
    missing = used - dependencies() - OPTIONAL
    assert not missing, f'package.xml does not name {missing}'


def distribution(module):
    return DISTRIBUTIONS.get(module, module.replace('_', '-'))


def requirements(file):
    """Return the requirements of one .in file."""
    lines = (line.split('#')[0].strip() for line in file.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def pinned_names():
    files = (ROOT / 'requirements').glob('*.in')
    return {requirement.name for file in files for requirement in requirements(file)}


def locked(name):
    """Return the versions of one package in a lock file: one for each range of Pythons."""
    files = [ROOT / 'requirements' / f'{file}.txt' for file in (name, 'torch')]
    lines = [line for file in files for line in file.read_text().splitlines()]
    pins = [Requirement(line.rstrip(' \\')) for line in lines if line[0] not in '# ']
    return {pin.name: [p for p in pins if p.name == pin.name] for pin in pins}


@pytest.mark.parametrize('file', RANGES)
def test_what_the_wheel_needs_is_a_range_and_the_locked_version_lies_in_it(file):
    lock = locked('lock')
    for requirement in requirements(ROOT / 'requirements' / f'{file}.in'):
        operators = sorted(part.operator for part in requirement.specifier)
        assert operators == ['<', '>='], f'{requirement}: expected a lower and an upper bound'
        for pin in lock[requirement.name]:
            (version,) = [part.version for part in pin.specifier]
            assert requirement.specifier.contains(version), f'{requirement}: locked is {pin}'


@pytest.mark.parametrize(
    'file', sorted((ROOT / 'requirements').glob('*.in')), ids=lambda path: path.stem
)
def test_every_other_dependency_is_an_exact_pin_and_in_its_lock(file):
    if file.stem in RANGES:
        return
    lock = locked('docs' if file.stem == 'docs' else 'lock')
    for requirement in requirements(file):
        (part,) = requirement.specifier
        assert part.operator == '==', f'{requirement}: expected an exact pin'
        assert any(pin.specifier == requirement.specifier for pin in lock[requirement.name])


def test_what_pip_installs_is_what_the_sources_import():
    """Nothing that is imported is missing, nothing is named that nothing imports."""
    needed = {r.name for f in RANGES for r in requirements(ROOT / 'requirements' / f'{f}.in')}
    used = {distribution(name): name for name in imports('xvla_ros')}
    assert needed - set(used) == {'imageio-ffmpeg'}  # imageio writes videos with it
    missing = {module for name, module in used.items() if name not in needed}
    assert missing <= dependencies() | OPTIONAL | {'pytest'}  # pytest: xvla_ros.testing.plugin


def test_the_versions_agree():
    """`__version__` is the one that pip reads; package.xml and the changelog name it, too."""
    version = xvla_ros.__version__
    assert package().findtext('version') == version
    metadata = (ROOT / 'pyproject.toml').read_text()
    assert 'version = {attr = "xvla_ros.__version__"}' in metadata
    changelog = (ROOT / 'CHANGELOG.rst').read_text()
    released = re.findall(r'^(\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}\)$', changelog, re.MULTILINE)
    assert released[0] == version


def test_a_release_is_told_in_25_lines():
    changelog = (ROOT / 'CHANGELOG.rst').read_text()
    releases = re.split(r'^\d+\.\d+\.\d+ .*\n-+\n', changelog, flags=re.MULTILINE)[1:]
    assert releases
    for text in releases:
        assert len(text.strip().splitlines()) <= 25


@pytest.mark.parametrize('name', NODES)
def test_each_node_has_an_installed_executable(name):
    script = (ROOT / 'scripts' / name).read_text()
    module = re.search(r"'(xvla_ros\.nodes\.[\w.]+)'", script).group(1)
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


@pytest.mark.parametrize('given', ['', '/opt/lib'])
def test_an_executable_finds_the_libraries_of_the_messages(tmp_path, given):
    """They are opened by name; beside an installed ROS nothing else says where they are."""
    command = PREFIX / 'bin' / 'xvla'
    if not command.exists():
        pytest.skip('not built into this environment')
    printing = tmp_path / 'printing'
    printing.write_text('#!/bin/sh\nprintf %s "$LD_LIBRARY_PATH"\n')
    printing.chmod(0o755)
    text = re.sub(r'"[^"]*/bin/python3?[.\d]*"', f'"{printing}"', command.read_text(), count=1)
    copy = tmp_path / 'xvla'
    copy.write_text(text)
    done = subprocess.run(
        ['sh', copy], env={'LD_LIBRARY_PATH': given}, capture_output=True, text=True, timeout=60
    )
    places = [place for place in done.stdout.split(':') if place]
    assert places == [*filter(None, [given]), str(PREFIX / 'lib')]


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
