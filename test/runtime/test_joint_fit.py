# SPDX-License-Identifier: Apache-2.0
"""A joints table that does not fit the checkpoint's data is refused by the joint's name."""

from dataclasses import replace
import math
from pathlib import Path
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from xvla_ros.control.joint_data import PoseCheck
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import CheckpointError, ObservationError
from xvla_ros.core.findings import OK, PROBLEM, WARNING
from xvla_ros.core.joint_detective import DataRange
from xvla_ros.model.conversion import convert
from xvla_ros.runtime.predictor import check_fit, data_ranges
from xvla_ros.runtime.worker_messages import CheckpointFacts
from xvla_ros.testing.miniature import write_small
from xvla_ros.tools.doctor.checkpoint import checkpoint_findings
from xvla_ros.tools.doctor.data import data_findings

CONFIG = Path(__file__).parents[2] / 'config' / 'so101_sim.yaml'
DATA = Path(__file__).parents[1] / 'model' / 'data' / 'lerobot'
# What an SO-101 may be asked for in its data, degrees and percent.
LOW, HIGH = (-50.0, -101.0, -60.0, -20.0, -70.0, 0.0), (60.0, 40.0, 90.0, 94.0, 80.0, 99.0)


@pytest.fixture(scope='module')
def so101():
    return load_embodiment(CONFIG)


def facts(scale=1.0, order=(0, 1, 2, 3, 4, 5)):
    """Return what is known of a checkpoint with data in degrees times `scale`."""
    low, high = (tuple(scale * ends[i] for i in order) for ends in (LOW, HIGH))
    told = DataRange(low=low, high=high)
    return CheckpointFacts(action_mode='auto', dim_action=6, action_range=told, state_range=told)


def test_degrees_fit_a_table_of_degrees(so101):
    check_fit(so101, facts())


def test_radians_by_a_table_of_degrees_are_refused_by_every_joint(so101):
    with pytest.raises(CheckpointError) as error:
        check_fit(so101, facts(math.pi / 180))
    for name in so101.arms['arm'].joint_names:
        assert f'arms.arm.joints.{name}: by its table no joint moved' in str(error.value)
    assert 'what would fit: rad' in str(error.value)


def test_degrees_by_a_table_of_radians_are_refused_by_every_joint():
    table = {
        f'arms.arm.joints.{n}.unit': 'rad' for n in load_embodiment(CONFIG).arms['arm'].joints
    }
    with pytest.raises(CheckpointError) as error:
        check_fit(load_embodiment(CONFIG, table), facts())
    assert str(error.value).count('what would fit: deg') == 5
    assert 'shoulder_pan: by its table the data is -50.00 to 60.00 rad' in str(error.value)


def test_another_zero_is_refused_by_the_joint(so101):
    moved = facts()
    low, high = list(LOW), list(HIGH)
    low[1], high[1] = -40.0 + 90, 95.0 + 90
    told = DataRange(low=tuple(low), high=tuple(high))
    wrong = replace(moved, action_range=told, state_range=told)
    with pytest.raises(CheckpointError, match=r'joints\.shoulder_lift: .*0 at -90 deg') as error:
        check_fit(so101, wrong)
    assert 'joints.elbow_flex' not in str(error.value)


def pose(q):
    return ArmPose(
        position=np.zeros(3), quaternion=np.array([0.0, 0.0, 0.0, 1.0]), gripper=1.0,
        joints=np.radians(q),
    )  # fmt: skip


def test_the_first_pose_must_be_where_the_data_has_been(so101):
    check = PoseCheck(so101, facts().state_range)
    with pytest.raises(ObservationError, match=r'joints\.wrist_flex: .*measured -1\.22 rad'):
        check.check([pose([0, -20, 40, -70, 0])])
    check.check([pose([0, -20, 40, 60, 0])])
    check.check([pose([0, -20, 40, -70, 0])])  # where the motion leads is the gate's affair


def test_without_statistics_nothing_is_refused(so101):
    bare = CheckpointFacts(action_mode='auto', dim_action=6)
    check_fit(so101, bare)
    PoseCheck(so101, bare.state_range).check([pose([0, -20, 40, -70, 0])])


def test_the_doctor_says_what_the_data_is(so101):
    (found,) = data_findings(so101, facts())
    assert found.level == OK
    assert found.found.startswith('the data is in deg; shoulder_pan: ')
    nonsense = facts(40.0)
    (found,) = data_findings(so101, nonsense)
    assert (found.level, found.found) == (WARNING, 'no unit fits its data')


@pytest.fixture
def there(tmp_path):
    """Return a joint-space checkpoint in LeRobot's form, with statistics that nothing applies."""
    numbers = {'action_mode': 'auto', 'max_action_dim': 20, 'real_action_dim': 6}
    convert(write_small(tmp_path / 'small', **numbers), tmp_path / 'there', 'lerobot')
    for file in (DATA / 'identity').glob('policy_*'):
        shutil.copy(file, tmp_path / 'there')
    return tmp_path / 'there'


def stored(folder):
    """Return the files of statistics, by what is stored in them."""
    return {file: load_file(file) for file in folder.glob('policy_*.safetensors')}


def test_the_ranges_are_those_stored_with_a_checkpoint(there):
    ((file, values),) = (
        (file, values) for file, values in stored(there).items() if 'post' in file.name
    )
    found = data_ranges(there)
    assert found['action_range'].low == pytest.approx(values['action.q01'].tolist())
    assert len(found['state_range'].high) == 6
    save_file({name: v for name, v in values.items() if name == 'action.mean'}, file)
    assert 'action_range' not in data_ranges(there)


@pytest.mark.parametrize(('scale', 'level'), [(1.0, OK), (math.pi / 180, PROBLEM)])
def test_the_doctor_compares_a_checkpoint_with_a_robots_file(there, scale, level):
    for file, values in stored(there).items():
        changed = dict(values)
        for feature in ('observation.state', 'action'):
            for names, ends in ((('min', 'q01'), LOW), (('max', 'q99'), HIGH)):
                told = np.float32(scale * np.array(ends))
                changed |= {f'{feature}.{name}': told for name in names}
        save_file(changed, file)
    robot = load_embodiment(CONFIG, {'policy.checkpoint': str(there)})
    found = {each.name: each for each in checkpoint_findings(robot)}
    unit = 'deg' if level == OK else 'rad'
    assert found['units arm'].found.startswith(f'the data is in {unit}')
    assert found['checkpoint'].level == level
    if level == PROBLEM:
        assert 'arms.arm.joints.shoulder_pan: ' in found['checkpoint'].found
