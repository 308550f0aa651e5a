# SPDX-License-Identifier: Apache-2.0
"""
Every command of README and docs is checked here, or listed with the reason why it is not.

Few run in whole. The others are taken as far as is cheap: `make -n`, the parser of a subcommand,
the arguments of a launch file, the types, names and values of messages.
"""

from argparse import ArgumentParser
from functools import partial
from importlib import import_module
from pathlib import Path
import re
import subprocess
import sys

from documented_commands import Command, commands, ROOT
import pytest
import yaml

from xvla_ros.bringup import embodiment_file
from xvla_ros.bringup.arguments import ARGUMENTS, check_names, DEFAULTS, overrides
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.live_settings import live_names
from xvla_ros.tools.cli import COMMANDS, module_of

ALL = commands()
# Options in brackets and names to fill in are for reading: each is given a value that parses.
FILL = (
    (r'\[--all \| --topics \.\.\.\]', '--all'),
    (r'2toinf\|lerobot\|native', 'native'),
    (r'[\[\]]', ''),
    (r'\bCOMMAND\b', 'doctor'),
    (r'\bSOURCE\b|\bTARGET\b', 'folder'),
    (r'--embodiment (…|X|FILE)', '--embodiment franka'),
    (r'embodiment:=X', 'embodiment:=franka'),
    (r' \.\.\.', ' --checkpoint DIR'),
    (r'(serve --token-file FILE)$', r'\1 --checkpoint DIR'),
    (r'xvla convert --layout', 'xvla convert folder folder --layout'),
)
# Services and topics that nodes of this package have, by node.
SERVICES = {
    '/policy_node/arm': 'SetBool',
    **{f'/{node}/reset': 'Trigger' for node in ('policy_node', 'controller_node')},
    '/policy_node/home': 'Trigger',
    **{f'/xvla_record/{name}': 'Trigger' for name in ('start', 'stop', 'discard')},
}
OWN_TOPICS = ('/estop', '/deadman', '/instruction', '/policy_node/status')
RECORDER_PARAMETERS = ('prompt',)


def filled(command):
    """Return a command with a value for everything that the reader shall fill in."""
    text = command.text
    for pattern, value in FILL:
        text = re.sub(pattern, value, text)
    return Command(page=command.page, text=text)


def in_make(command):
    """Take a target of the Makefile as far as `make -n`: nothing runs."""
    words = [word for word in command.words if word != 'make']
    done = subprocess.run(
        ['make', '-n', *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def in_parser(command):
    """Parse the arguments of a subcommand; `xvla NAME` alone only names it."""
    name, *rest = filled(command).words[1:] or ['doctor']
    assert name in COMMANDS
    if not rest or rest == ['--help']:
        return
    parser = ArgumentParser(exit_on_error=False)
    import_module(module_of(name)).add_arguments(parser)
    parser.parse_args(rest)


def in_launch_file(command):
    """Check a launch file's arguments as launch would, and read the robot that they name."""
    words = filled(command).words
    file = ROOT / 'launch' / words[3]
    assert file.exists()
    given = dict(word.split(':=', 1) for word in words[4:] if ':=' in word)
    own = re.findall(r"DeclareLaunchArgument\(\s*'(\w+)'", file.read_text())
    if file.name == 'two_robots.launch.py':
        own += ['left', 'right']
    check_names(given, [*ARGUMENTS, *own], all_ours=True)
    is_simulation = file.name in ('sim.launch.py', 'demo.launch.py')
    chosen = {name: DEFAULTS.get(name, '') for name in ARGUMENTS}
    ours = {key: value for key, value in given.items() if key not in own}
    replaced = overrides({**chosen, **ours})
    if 'embodiment' in given:
        load_embodiment(embodiment_file(given['embodiment'], is_simulation), replaced)


def message_class(name):
    """Return the class of 'package/msg/Type', or skip where the package is not installed."""
    package, kind, name = name.split('/')
    module = pytest.importorskip(f'{package}.{kind}', reason=f'{package} is not installed')
    return getattr(module, name)


def as_service_call(command):
    """Check name, type and request of a service of this package."""
    name, kind, *values = command.words[3:]
    assert kind == f'std_srvs/srv/{SERVICES[name]}'
    fields = message_class(kind).Request.get_fields_and_field_types()
    for text in values:
        assert set(yaml.safe_load(text)) <= set(fields)


def as_publisher(command):
    """Check topic, type and message."""
    words = command.words
    topic, kind, text = words[-3:]
    assert topic in OWN_TOPICS
    assert set(yaml.safe_load(text)) <= set(message_class(kind).get_fields_and_field_types())


def as_topic(command):
    """Check that the robot of the page has the topic in its file, or this package has it."""
    (topic,) = [word for word in command.words[3:] if word.startswith('/')]
    file = ROOT / 'config' / f'{Path(command.page).stem}.yaml'
    assert topic in OWN_TOPICS or topic.lstrip('/') in file.read_text()


def as_parameter(command):
    """Check that the parameter may be set while the node runs."""
    if len(command.words) < 6 or 'NAME' in command.words:
        return
    node, name = command.words[3:5]
    live = live_names(load_embodiment(embodiment_file('franka', sim=False)))
    assert name in {'/policy_node': live, '/xvla_record': RECORDER_PARAMETERS}[node]


def as_node(command):
    """Check that module and parameter file exist."""
    words = command.words
    assert (ROOT / Path(*words[words.index('-m') + 1].split('.'))).exists()
    assert (ROOT / words[words.index('--params-file') + 1]).exists()


def as_file(command):
    """Check that a script of the checkout exists."""
    assert (ROOT / command.words[0]).exists()


def in_whole(command):
    """Run it; it is cheap."""
    words = [sys.executable, '-m', 'xvla_ros.tools.cli', *command.words[1:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    page = (ROOT / command.page).read_text()
    for line in done.stdout.splitlines():
        if line.startswith('ok ') and 'arm arm' in line:
            assert line.strip() in page, f'{command.page} does not show: {line}'


def nowhere(command, reason):
    """Not run here."""
    pytest.skip(reason)


ELSEWHERE = "belongs to another package: the robot's driver, ROS or a tool"
FRESH = 'needs a machine with ROS: `make ros-workspace-test` takes these steps on the wheels'
# The first pattern that matches a command decides.
TABLE = (
    (
        r'(ros2|xvla|make)( launch| bag| topic echo| param [gs]et)?$',
        None,
        'only the name of a tool',
    ),
    (r'make ', in_make, ''),
    (r'\.venv/bin/xvla doctor --no-model --embodiment config/ur5e_sim.yaml$', in_whole, ''),
    (r'(\.venv/bin/)?xvla( |$)', in_parser, ''),
    (r'ros2 launch xvla_ros ', in_launch_file, ''),
    (r'ros2 service call ', as_service_call, ''),
    (r'ros2 topic pub --qos-durability transient_local$', None, 'only the name of an option'),
    (r'ros2 topic pub ', as_publisher, ''),
    (r'ros2 topic ', as_topic, ''),
    (r'ros2 param set ', as_parameter, ''),
    (r'\.venv/bin/python -m xvla_ros\.nodes\.', as_node, ''),
    (r'scripts/', as_file, ''),
    (r'(ros2 (control|launch|run|security)|bash can_config) ?', None, ELSEWHERE),
    (r'nvidia-smi|\.venv/bin/python -c "import torch', None, 'needs a GPU'),
    (r'ament_|colcon test ', None, 'needs packages of ROS that are not here; run by hand'),
    (r'source |cd |touch |rosdep |python3 -m |pip install (--no-deps )?-r', None, FRESH),
    (r'pip install onnx ', None, 'optional packages; test/model/test_backends.py skips without'),
    (r'pip install \.', None, 'test/package/test_wheel.py builds and installs the wheel'),
    (r'export FASTRTPS', None, 'test/package/test_fastdds.py reads that file'),
    (r'export |python -m launch_testing', None, 'needs sources that are not here; run by hand'),
    (r'V=|\(cd |PYTHONPATH=', None, 'needs sources that are not here; run by hand'),
    (r'\.venv/bin/pytest -p xvla_ros', None, 'test/replay/test_testing.py runs it on a bag'),
    (r'serve run ', None, 'needs Ray; test/serve/test_ray.py imports that application'),
    (r'python evaluation/', None, 'a client of another repository'),
    (r'\.venv/bin/python -m bench\.', None, 'needs the reference, which is not here'),
    (r'\.venv/bin/python$', None, 'only the name of a tool'),
)


def way(command):
    """Return how a command is checked, None when no row of the table knows it."""
    for pattern, check, reason in TABLE:
        if re.match(pattern, re.sub(r'\s+#.*', '', command.text)):
            return check or partial(nowhere, reason=reason)
    return None


def test_every_command_is_known():
    assert len(ALL) > 150
    unknown = [f'{c.page}: {c.text}' for c in ALL if way(c) is None]
    assert not unknown, f'commands that no row of TABLE matches: {unknown}'


def test_every_row_of_the_table_is_needed():
    used = {id(way(c).func) if isinstance(way(c), partial) else id(way(c)) for c in ALL}
    assert {id(check) for _, check, _ in TABLE if check} <= used


@pytest.mark.parametrize('command', ALL, ids=[f'{c.page}: {c.text[:60]}' for c in ALL])
def test_a_command_would_run(command):
    way(command)(command)
