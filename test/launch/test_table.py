# SPDX-License-Identifier: Apache-2.0
"""The table of processes, the runner, which leaves no process behind, and the launch files."""

import os
from pathlib import Path
import py_compile
import signal
import subprocess
import sys
import time

import psutil
import pytest

from xvla_ros.bringup import embodiment_file, Process, processes, PROFILE_VARIABLES
from xvla_ros.bringup.runner import Domain, Runner
from xvla_ros.core.errors import ConfigError, XvlaError

ROOT = Path(__file__).resolve().parents[2]
SIM = embodiment_file('franka', sim=True)
SLEEPER = [sys.executable, '-c', 'import time; time.sleep(600)']
# Ignores SIGTERM and has a child of its own.
STUBBORN = [
    *(sys.executable, '-c'),
    'import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); '
    'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]); '
    'print("up", flush=True); time.sleep(600)',
]


def names(table):
    return [process.name for process in table]


def test_a_simulation_starts_the_cell_the_policy_and_the_controller():
    assert names(processes(SIM, sim=True)) == ['sim_node', 'policy_node', 'controller_node']


def test_a_real_robot_starts_only_the_policy_and_the_controller():
    assert names(processes(SIM, sim=False)) == ['policy_node', 'controller_node']


def test_every_executable_is_installed_by_cmake():
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    for process in processes(SIM, sim=True):
        assert (ROOT / 'scripts' / process.executable).exists()
        assert process.executable in cmake


def test_the_command_line_holds_parameters_as_yaml():
    process = Process(
        name='n', executable='n', module='m', parameters=Path('f.yaml'),
        overrides={'a.b': 'x y', 'c': 1.5, 'd': True}, remaps={'from': 'to'},
    )  # fmt: skip
    command = process.command()
    assert command[:3] == [sys.executable, '-m', 'm']
    for argument in ('a.b:="x y"', 'c:=1.5', 'd:=true', 'from:=to'):
        assert argument in command


@pytest.mark.parametrize(
    ('sim', 'known'),
    [
        (True, 'agilex, aloha, franka, franka_joint, .*ur5e, widowx,'),
        (False, 'franka, franka_joint, .*franka_sim, '),
    ],
)
def test_an_unknown_robot_is_refused_with_the_known_ones(sim, known):
    with pytest.raises(ConfigError, match=rf"robot 'no_such_robot': expected one of .*{known}"):
        embodiment_file('no_such_robot', sim=sim)


def test_a_missing_file_is_refused_with_the_places_searched():
    with pytest.raises(ConfigError, match=r'no_such\.yaml: no such file; looked for .*config'):
        embodiment_file('no_such.yaml', sim=True)


def test_the_users_own_transport_profile_is_kept(monkeypatch):
    monkeypatch.setenv(PROFILE_VARIABLES[0], '/mine.xml')
    assert all(not process.environment for process in processes(SIM, sim=True))


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it may end between the two calls
        return False


def alive(pids):
    return [pid for pid in pids if lives(pid)]


def wait_until(done):
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_leaving_the_runner_ends_all_processes_even_a_stubborn_one(tmp_path, monkeypatch):
    monkeypatch.setattr('xvla_ros.bringup.runner.END_TIMEOUT_S', 0.5)
    with Runner(tmp_path) as runner:
        runner.run('sleeper', SLEEPER)
        runner.run('stubborn', STUBBORN)
        deadline = time.monotonic() + 30
        while 'up' not in runner.log('stubborn').read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        pids = [runner.pid('sleeper'), runner.pid('stubborn')]
        pids += [child.pid for pid in pids for child in psutil.Process(pid).children()]
        assert len(alive(pids)) == 3
    wait_until(lambda: not alive(pids))


def test_an_ended_process_is_reported_with_its_last_lines(tmp_path):
    with Runner(tmp_path) as runner:
        runner.run('brief', [sys.executable, '-c', 'raise SystemExit("no bananas")'])
        wait_until(lambda: not alive([runner.pid('brief')]))
        with pytest.raises(XvlaError, match=r'brief ended \(exit code 1\)(.|\n)*no bananas'):
            runner.check()


def test_processes_end_when_their_starter_is_killed(tmp_path):
    code = (
        'import sys, time; from pathlib import Path; from xvla_ros.bringup.runner import Runner\n'
        f'runner = Runner(Path({str(tmp_path)!r})); runner.run("sleeper", {SLEEPER!r})\n'
        'print(runner.pid("sleeper"), flush=True); time.sleep(600)'
    )
    starter = subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    sleeper = int(starter.stdout.readline())
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    deadline = time.monotonic() + 10
    while alive([sleeper]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive([sleeper])


def test_two_domains_differ():
    first, second = Domain(), Domain()
    assert first.number != second.number


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'launch').glob('*.launch.py')), ids=lambda p: p.name
)
def test_launch_files_compile_and_describe(path, tmp_path):
    py_compile.compile(str(path), cfile=str(tmp_path / 'compiled'), doraise=True)
    pytest.importorskip(
        'launch_ros', reason='launch_ros is not installed (apt: ros-jazzy-launch-ros)'
    )
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    from launch import LaunchContext

    source = PythonLaunchDescriptionSource(str(path))
    description = source.get_launch_description(LaunchContext())
    declared = {e.name for e in description.entities if isinstance(e, DeclareLaunchArgument)}
    one = {'embodiment', 'checkpoint', 'instruction', 'rviz'}
    several = {'left', 'right', 'sim'}
    assert declared >= (several if path.name == 'two_robots.launch.py' else one)
