# SPDX-License-Identifier: Apache-2.0
"""
Every reason code of PolicyStatus and ControllerStatus, with its meaning.

A code is set where the reason arises (`Reason`, an error's `code`) and passed on unchanged. A
test compares this table with the sources. Codes of the safety gate are in verdict.MEANING.
"""

from collections.abc import Mapping

from xvla_ros.core.verdict import MEANING as GATE

INPUTS: Mapping[str, str] = {
    'missing': 'nothing has come from an input stream yet',
    'stale': 'the last message of a stream is older than its limit',
    'future': 'a stamp is in the future',
    'unstamped': 'messages have no stamp (it is 0)',
    'skew': 'two streams were measured too far apart',
    'frame': 'a pose is in another frame than expected',
    'pose_not_finite': 'a pose holds NaN or infinity',
    'quaternion': 'an orientation is no unit quaternion',
    'jump': 'a measured pose is farther from the one before than an arm can move',
    'joint_missing': 'a JointState lacks a joint',
    'joint_twice': 'a JointState names a joint twice',
    'joint_count': 'a JointState has more names than positions, or fewer',
    'joint_not_finite': 'a joint position is NaN or infinity',
    'joint_implausible': 'a joint is outside its limits: another unit, or another joint',
    'joints_unnamed': "no JointState on the topic names any of the arm's joints",
    'gripper_implausible': 'a finger joint is far outside its travel: another unit',
    'tf': 'TF does not connect the frames',
    'encoding': "an image's encoding is unknown or another than declared",
    'image_size': "the length of an image's data does not fit its header",
    'image_damaged': 'a compressed image cannot be decoded',
    'frozen': 'a camera sends the same image with new stamps while an arm moves',
    'two_publishers': 'a topic that must have one publisher has more',
    'observation': 'an input cannot be used, for a reason without a code of its own',
}
MODEL: Mapping[str, str] = {
    'first_chunk': 'the first chunk of the task has not come yet',
    'ran_out': 'the plan ran out before the next chunk came',
    'worker_died': 'the inference worker died; another one is started',
    'worker_silent': 'the inference worker has given no sign of life for too long',
    'worker_failed': 'the inference worker ended with an error',
    'worker_restart': 'the inference worker could not be started again',
    'worker_link': 'a message of the inference worker could not be handled',
    'checkpoint_change': 'another checkpoint is being loaded',
    'answer_not_finite': 'the model answered NaN or infinity',
    'answer_shape': 'the model answered another number of actions or values than announced',
    'server_unreachable': 'no server answers at policy.server_url',
    'server_slow': 'the server did not answer within policy.request_timeout_s',
    'server_garbage': "the server's answer does not follow the protocol",
    'server_refused': 'the server refused the request',
    'server_lacks': 'the server does not support a setting of this robot',
    'server_changed': 'the server serves another model than when the node was configured',
    'inference': 'the model failed, for a reason without a code of its own',
    'checkpoint': 'the checkpoint is incomplete, malformed or does not fit the embodiment',
}
SYSTEM: Mapping[str, str] = {
    'estop': 'the e-stop is pressed, or was and has not been reset',
    'deadman_released': 'the deadman switch is released',
    'deadman_silent': 'no message comes from the deadman switch',
    'clock_stopped': '/clock stands still',
    'clock_unheard': '/clock has never been received',
    'clock_back': 'the clock went backwards',
    'control_thread': 'the control thread met an error',
    'home': 'the robot goes home',
    'not_configured': 'the node is not configured',
    'refused_start': 'the node cannot start; `message` says why',
    'configuration': 'a setting is wrong',
    'error': 'an error without a code of its own',
    'unheard': 'nobody subscribes to the targets',
    'controller_gone': 'the controller is gone',
    'controller_started': 'a controller has started: arm again',
    'controller_silent': 'the controller gives no sign of life',
    'controller_stopped': 'the controller has stopped and gives no code',
    'controller_waits': 'the controller waits for its first hold',
}
CONTROLLER: Mapping[str, str] = {
    'no_hold_yet': 'no hold was received yet',
    'first_a_hold': 'the first command must be a hold',
    'policy_holds': 'the policy holds',
    'no_targets': 'no target came for control.hold_after_s',
    'not_following': 'an arm does not follow its targets',
    'pose_frozen': 'an arm reports one and the same pose while its targets move',
    'one_publisher': 'the targets have one publisher again',
    'not_arrived': 'an arm is not where it was held',
    'changed': 'a target was changed to stay within a limit',
    'reset': 'a stop was reset',
    'ends': 'the controller ends',
    'driver': 'a driver takes no commands now',
    'out_of_reach': 'one arm of a pair cannot reach its target',
    'target_old': 'a target is older than control.hold_after_s',
    'target_older': 'a target is not newer than the one before',
    'target_future': 'a target is stamped in the future',
    'target_arms': 'a target is for other arms',
    'target_frame': 'a target is in another frame',
    'target_pose': 'a target holds no valid pose',
    'target_joints': 'a target has another number of joints than the arm',
}
MEANING: Mapping[str, str] = {**INPUTS, **MODEL, **SYSTEM, **CONTROLLER, **GATE}
