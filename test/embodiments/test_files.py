# SPDX-License-Identifier: Apache-2.0
"""Every embodiment file: it loads, fits its robot description, and has the right facts."""

import ast
import re

import numpy as np
import pytest
import yaml

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

ROOT = shared_file('config', 'franka.yaml').parents[1]
FILES = sorted((ROOT / 'config').glob('*.yaml'))
REAL = [f for f in FILES if not f.stem.endswith('_sim')]
SIMULATED = [f for f in REAL if f.with_name(f'{f.stem}_sim.yaml').exists()]
UNPACKAGED = {'interbotix': 'joint_trajectory'}
RY_90 = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_every_file_loads_and_fits_its_robot_description(file):
    embodiment = load_embodiment(file)
    for name, arm in embodiment.arms.items():
        kinematics = Kinematics(shared_file('resource', arm.urdf), arm.tool_frame, arm.joint_names)
        position, _ = kinematics.forward(arm.home_rad)
        assert (np.array(arm.home_rad) > kinematics.lower).all(), name
        assert (np.array(arm.home_rad) < kinematics.upper).all(), name
        assert (position >= arm.workspace_min_m).all(), name
        assert (position <= arm.workspace_max_m).all(), name


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_every_frame_offset_is_rigid(file):
    for arm in load_embodiment(file).arms.values():
        for offset in (arm.base_from_policy, arm.policy_from_tool):
            matrix = np.reshape(offset, (4, 4))
            assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
            assert np.isclose(np.linalg.det(matrix[:3, :3]), 1.0)
            assert matrix[3].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize('file', FILES, ids=lambda f: f.stem)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(file, tmp_path):
    document = yaml.safe_load(file.read_text())
    parameters = document['/**']['ros__parameters']
    parameters['control']['rate_hertz'] = parameters['control'].pop('rate_hz')
    wrong = tmp_path / 'wrong.yaml'
    wrong.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=r"control\.rate_hertz'; did you mean 'rate_hz'"):
        load_embodiment(wrong)


@pytest.mark.parametrize('file', REAL, ids=lambda f: f.stem)
def test_a_real_robot_starts_in_dry_run(file):
    assert not load_embodiment(file).control.start_armed


@pytest.mark.parametrize('file', SIMULATED, ids=lambda f: f.stem)
def test_a_real_robot_and_its_simulation_differ_in_no_joint_or_driver(file):
    """
    Only where the messages of the real driver are in no package index does the driver differ.

    Interbotix' own ROS 2 driver also has trajectory controllers: the simulation has those.
    """
    real = load_embodiment(file)
    simulated = load_embodiment(file.with_name(f'{file.stem}_sim.yaml'))
    assert real.robot == simulated.robot
    assert real.arm_names == simulated.arm_names
    for name in real.arm_names:
        one, other = real.arms[name], simulated.arms[name]
        assert (one.joint_names, one.urdf) == (other.joint_names, other.urdf)
        assert other.driver == UNPACKAGED.get(one.driver, one.driver)


def test_the_files_have_the_facts_of_their_checkpoints():
    """Sources: X-VLA datasets/domain_config.py, and the handlers' windows (qdur / 30)."""
    facts = {
        f.stem: (e.policy.domain_id, e.policy.anchor_period_s, e.policy.rotation_6d_layout)
        for f, e in ((f, load_embodiment(f)) for f in REAL)
        if f.stem in ('franka', 'widowx', 'agilex')
    }
    assert facts == {
        'agilex': (5, 0.0667, 'interleaved'),
        'franka': (11, 0.1333, 'interleaved'),
        'widowx': (0, 0.1667, 'interleaved'),
    }


def test_bridge_orientations_are_multiplied_from_the_right():
    """By BridgeData's DEFAULT_ROTATION an identity rotation is a gripper that points down."""
    arm = load_embodiment(ROOT / 'config' / 'widowx.yaml').arms['arm']
    turn = np.reshape(arm.policy_from_tool, (4, 4))[:3, :3]
    assert np.array_equal(turn, RY_90)
    out_of_the_gripper = (np.eye(3) @ turn)[:, 0]  # x of ee_gripper_link
    assert np.array_equal(out_of_the_gripper, [0, 0, -1])


def test_softfold_poses_are_poses_of_the_flange():
    """policy_from_tool of the Pipers is the transform from link6 to the tool in the URDF."""
    arm = load_embodiment(ROOT / 'config' / 'agilex.yaml').arms['left']
    urdf = shared_file('resource', arm.urdf)
    flange = Kinematics(urdf, 'link6', arm.joint_names).forward(arm.home_rad)
    tool = Kinematics(urdf, arm.tool_frame, arm.joint_names).forward(arm.home_rad)
    matrices = []
    from scipy.spatial.transform import Rotation

    for position, quaternion in (flange, tool):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat(quaternion).as_matrix(), position
        matrices.append(matrix)
    between = np.linalg.inv(matrices[0]) @ matrices[1]
    assert np.allclose(between, np.reshape(arm.policy_from_tool, (4, 4)), atol=1e-9)


def test_the_page_on_adding_a_robot_finds_a_home_pose(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/add-a-robot.md').read_text(), re.S)
    exec(compile(code, 'docs/add-a-robot.md', 'exec'), {})
    home = load_embodiment('config/ur5e_sim.yaml').arms['arm'].home_rad
    assert capsys.readouterr().out == f'{list(home)} reached\n'


def _compared_strings(tree):
    """Yield string constants that code compares with, matches on or looks up."""
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key is not None]
        for part in parts:
            for leaf in ast.walk(part):
                if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                    yield leaf.value


def test_no_code_depends_on_a_robots_name():
    names = {f.stem for f in FILES} | {load_embodiment(f).robot for f in FILES}
    found = {
        (str(source.relative_to(ROOT)), text)
        for source in (ROOT / 'xvla_ros').rglob('*.py')
        for text in _compared_strings(ast.parse(source.read_text()))
        if text in names
    }
    assert not found
