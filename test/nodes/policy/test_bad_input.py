# SPDX-License-Identifier: Apache-2.0
"""Every input that goes wrong in motion ends in a hold that names it; healed, motion resumes."""

import math

import pytest
from std_msgs.msg import String
from std_srvs.srv import Trigger

from xvla_ros.msg import PolicyStatus

pytestmark = pytest.mark.ros
WAITING, HOLDING = PolicyStatus.STATE_WAITING, PolicyStatus.STATE_HOLDING
RUNNING = PolicyStatus.STATE_RUNNING
FAR_S = 100.0  # a stamp of the future that a loaded machine does not let come true


def stop_camera(rig):
    rig.cameras = {'main'}


def camera_of_the_past(rig):
    rig.camera_shift_s = -2.0


def camera_of_the_future(rig):
    rig.camera_shift_s = FAR_S


def unknown_encoding(rig):
    rig.encoding = 'yuv_of_a_lab'


def image_too_short(rig):
    rig.encoding = 'bgra8'


def missing_finger(rig):
    rig.joint_names = [*rig.arm.joint_names, rig.arm.gripper.joint_names[1]]


def nan_finger(rig):
    rig.finger_m = math.nan


def other_frame(rig):
    rig.frame = 'somewhere_else'


def silent_arm(rig):
    rig.arm_alive = False


def arm_of_the_future(rig):
    rig.arm_shift_s = FAR_S


@pytest.mark.parametrize(
    ('trouble', 'culprit'),
    [
        (stop_camera, 'camera wrist'),
        (camera_of_the_past, 'old'),
        (camera_of_the_future, 'in the future'),
        (unknown_encoding, 'yuv_of_a_lab'),
        (image_too_short, 'bytes'),
        (missing_finger, 'gripper arm'),
        (nan_finger, 'fr3_finger_joint1'),
        (other_frame, 'somewhere_else'),
        (silent_arm, 'arm arm'),
        (arm_of_the_future, 'in the future'),
    ],
)
def test_trouble_ends_in_a_hold_that_names_it_and_motion_comes_back(
    rig, running, trouble, culprit
):
    trouble(rig)
    rig.wait_state(WAITING, HOLDING, saying=culprit)
    told_ns = rig.now_ns()
    rig.wait(lambda: len(rig.sent(told_ns)) > 10, what='holds to be published')
    assert all(hold for _, hold in rig.sent(told_ns)), 'moved on bad input'
    rig.heal()
    rig.wait_state(RUNNING)
    rig.wait(rig.moving, what='targets after the recovery')


@pytest.mark.parametrize('trouble', [stop_camera, camera_of_the_future, unknown_encoding])
def test_trouble_that_ends_after_its_task_keeps_nobody_from_going_home(rig, running, trouble):
    trouble(rig)
    rig.wait_state(WAITING, HOLDING, saying='camera')
    rig.instruction.publish(String(data=''))
    rig.wait_state(PolicyStatus.STATE_IDLE)
    rig.heal()
    rig.wait(lambda: rig.call(Trigger, 'home', Trigger.Request()).success, what='to go home')


def test_hold_comes_within_the_age_limit_of_a_camera(rig, running):
    limit_s = rig.embodiment.cameras['wrist'].max_age_s
    rig.cameras = {'main'}
    rig.wait_state(WAITING, HOLDING, saying='camera wrist')
    told_ns = rig.now_ns()
    rig.wait(lambda: rig.sent(told_ns), what='holds')
    # By stamps: how late they are written and read here is not what is tested.
    moved_ns = max(ns for ns, hold in rig.sent(0) if not hold)
    assert moved_ns - rig.shown_ns['wrist'] < (limit_s + 0.5) * 1e9
