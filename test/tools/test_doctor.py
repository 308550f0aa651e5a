# SPDX-License-Identifier: Apache-2.0
"""The doctor: finds what is wrong, says what to do, and is silent about what is well."""

import array
import os
import re
import subprocess
import sys

from bags import ROOT
import numpy as np
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.findings import OK, PROBLEM
from xvla_ros.core.rotations import matrix_to_rotate6d
from xvla_ros.tools.cli import main
from xvla_ros.tools.doctor import machine
from xvla_ros.tools.doctor.checkpoint import rotation_finding

CONFIG = ROOT / 'config' / 'franka_sim.yaml'


def levels(findings):
    return {finding.name: finding.level for finding in findings}


def test_a_machine_that_can_run_us_has_no_problem():
    found = levels(machine.machine_findings(load_embodiment(CONFIG)))
    assert found['packages'] == OK
    assert found['DDS profile'] == OK


def test_a_small_segment_is_a_problem(tmp_path, monkeypatch):
    profile = tmp_path / 'small.xml'
    profile.write_text('<dds><segment_size>524288</segment_size></dds>')
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', str(profile))
    (finding,) = [f for f in machine.machine_findings(None) if f.name == 'DDS profile']
    assert finding.level == PROBLEM
    assert 'config/fastdds.xml' in finding.fix


def test_a_gpu_that_is_asked_for_must_be_there():
    import torch

    if torch.cuda.is_available():
        pytest.skip('this machine has one')
    embodiment = load_embodiment(CONFIG, {'policy.device': 'cuda'})
    assert levels(machine.machine_findings(embodiment))['device'] == PROBLEM


def doctor(capsys, file, *arguments):
    """Return the exit code and what is said of each thing that is looked at."""
    code = main(['doctor', '--no-model', '--embodiment', str(file), *arguments])
    lines = capsys.readouterr().out.splitlines()
    return code, {line[9:].split(':')[0]: line for line in lines if line[:2] != '  '}


@pytest.mark.parametrize('file', sorted(ROOT.glob('config/*_sim.yaml')), ids=lambda f: f.stem)
def test_every_simulated_robot_fits_its_description_and_reaches_its_blocks(capsys, file):
    code, said = doctor(capsys, file)
    assert code == 0
    assert said['simulation'].endswith('every block can be reached')
    arms = [said[f'arm {name}'] for name in load_embodiment(file).arm_names]
    assert all('joints; home_rad puts the tool at (' in line for line in arms)


@pytest.mark.parametrize(
    ('change', 'name', 'words'),
    [
        (('1.9743', '9.9'), 'arm arm', 'PROBLEM'),
        (('/**:', 'policy_node:'), 'sections', 'controller_node, sim_node: other parameters'),
        (('tool_frame: fr3_hand_tcp', 'tool_frame: hand'), 'arm arm', "no link 'hand'"),
        (('fr3_finger_joint2', 'finger'), 'simulation', "no joint 'finger'"),
        (('block_max_m: [0.', 'block_max_m: [2.'), 'simulation', 'WARNING'),
    ],
)
def test_a_robot_that_does_not_fit_its_description_is_found_out(
    tmp_path, capsys, change, name, words
):
    text = CONFIG.read_text()
    assert change[0] in text
    file = tmp_path / 'robot.yaml'
    file.write_text(text.replace(*change))
    code, said = doctor(capsys, file)
    assert words in said[name]
    assert code == (0 if words == 'WARNING' else 1)


@pytest.mark.parametrize(
    ('file', 'level'), [('franka.yaml', 'WARNING'), ('widowx.yaml', 'PROBLEM')]
)
def test_limits_that_allow_no_motion_matter_to_a_driver_of_joints(tmp_path, capsys, file, level):
    """SolidWorks' exporter writes velocity="0"; only a Cartesian controller does not mind."""
    arm = next(iter(load_embodiment(ROOT / 'config' / file).arms.values()))
    urdf = (ROOT / 'resource' / arm.urdf).read_text()
    (tmp_path / 'still.urdf').write_text(re.sub('velocity="[^"]*"', 'velocity="0"', urdf))
    text = (ROOT / 'config' / file).read_text().replace(arm.urdf, str(tmp_path / 'still.urdf'))
    (tmp_path / 'robot.yaml').write_text(text)
    _, said = doctor(capsys, tmp_path / 'robot.yaml')
    assert said['arm arm'].startswith(level)


@pytest.mark.parametrize(
    ('package', 'users'),
    [
        (
            'pinocchio',
            [
                f'xvla_ros.{name}'
                for name in (
                    'control.arm_kinematics',
                    'control.kinematics',
                    'control.urdf',
                    'tools.doctor.robot',
                )
            ],
        ),
        ('mujoco', ['xvla_ros.sim.world']),
    ],
)
def test_a_package_that_is_missing_does_not_end_the_doctor(capsys, monkeypatch, package, users):
    """It once ended in a stack before it came to say which package is missing."""
    monkeypatch.setitem(sys.modules, package, None)
    for user in users:
        monkeypatch.delitem(sys.modules, user, raising=False)
    code, said = doctor(capsys, CONFIG)
    assert code == 1
    assert package in said['robot']
    assert 'packages' in said


def test_a_reader_that_has_read_enough_is_no_error():
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'doctor', '--embodiment', str(CONFIG)]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout.readline().startswith('ok       embodiment: franka')
        process.stdout.close()
        assert process.stderr.read() == ''
    assert process.returncode == 141


def test_a_pipe_that_breaks_elsewhere_is_told(capfd, monkeypatch):
    """A child that died once ended the command without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(
        'xvla_ros.tools.doctor.command.run', lambda args: os.write(writing, b'more')
    )
    with pytest.raises(BrokenPipeError):
        main(['doctor'])
    os.close(writing)


def chunk(layout):
    """Return a raw chunk (30, 20) with rotations in one layout."""
    from scipy.spatial.transform import Rotation

    raw = np.zeros((30, 20))
    turns = Rotation.random(30, random_state=0).as_matrix()
    raw[:, 3:9] = matrix_to_rotate6d(turns, layout)
    return raw


def test_the_other_layout_is_recognised():
    embodiment = load_embodiment(CONFIG)
    assert rotation_finding(embodiment, chunk('interleaved')).level == OK
    wrong = rotation_finding(embodiment, chunk('contiguous'))
    assert wrong.level == PROBLEM
    assert "uses 'contiguous'" in wrong.fix


def test_a_checkpoint_that_does_not_fit_is_a_problem(tmp_path, capsys):
    from xvla_ros.testing.miniature import write_small

    checkpoint = write_small(tmp_path / 'small')
    arguments = ['doctor', '--embodiment', str(CONFIG), '--checkpoint', str(checkpoint)]
    main(arguments)
    text = capsys.readouterr().out
    assert 'checkpoint: ' in text
    assert 'Rotate6D: mean residual' in text
    arguments = ['doctor', '--embodiment', str(CONFIG), '--checkpoint', str(tmp_path)]
    assert main(arguments) == 1
    assert 'PROBLEM  checkpoint' in capsys.readouterr().out


def test_live_needs_something_to_compare_with(capsys):
    assert main(['doctor', '--live']) == 2
    assert '--live needs --embodiment' in capsys.readouterr().err


@pytest.mark.ros
def test_a_live_system_is_held_against_the_file():
    """One topic well, one too slow with a wrong frame, one of another type, one missing."""
    rclpy = pytest.importorskip('rclpy', reason='a live system needs ROS')
    import threading

    from geometry_msgs.msg import PoseStamped
    from sensor_msgs.msg import CompressedImage, Image, JointState

    from xvla_ros.tools.doctor.live import live_findings

    embodiment = load_embodiment(CONFIG)
    arm = embodiment.arms['arm']
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('driver', context=context)
    joints = node.create_publisher(JointState, 'joint_states', 10)
    poses = node.create_publisher(PoseStamped, 'current_pose', 10)
    node.create_publisher(CompressedImage, 'camera/main/image_raw', 10)
    node.create_publisher(Image, 'camera/wrist_left/image_raw', 10)
    names = [*arm.joint_names, *arm.gripper.joint_names]
    stop = threading.Event()

    def publish():
        while not stop.wait(0.01):
            stamp = node.get_clock().now().to_msg()
            state = JointState(name=names, position=array.array('d', [0.0] * len(names)))
            pose = PoseStamped()
            state.header.stamp = pose.header.stamp = stamp
            pose.header.frame_id, pose.pose.orientation.w = 'map', 1.0
            joints.publish(state)
            poses.publish(pose)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        found = {f.name.split(' (')[0]: f for f in live_findings(embodiment, 5.0)}
    finally:
        stop.set()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    assert not found['gripper arm'].fix
    assert "pose is in frame 'map'" in found['arm arm'].found
    assert 'CompressedImage' in found['camera main'].found
    assert found['camera wrist'].found == 'nobody publishes it'
    assert 'camera/wrist_left/image_raw' in found['camera wrist'].fix
    assert found['commands of arm'].found == 'nobody listens'
