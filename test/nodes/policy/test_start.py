# SPDX-License-Identifier: Apache-2.0
"""A start that cannot go well is refused in one sentence that names the culprit."""

import shutil

import pytest
from safetensors.torch import load_file, save_file
import yaml

from xvla_ros.core.resources import shared_file
from xvla_ros.msg import PolicyStatus

pytestmark = pytest.mark.ros
FAULT = PolicyStatus.STATE_FAULT
REFUSED_S = 60.0


def refused(rig, runner):
    """Return the words of the refusal, from the status; they are in the log as well."""
    rig.wait_state(FAULT, timeout_s=REFUSED_S)
    text = rig.status.message
    log = runner.log('policy_node').read_text()
    assert text.splitlines()[0] in log
    assert 'Traceback' not in text + log
    runner.stop()
    return text


def edited(tmp_path, change):
    """Return an embodiment file with a change."""
    document = yaml.safe_load(shared_file('config', 'franka_sim.yaml').read_text())
    document['/**']['ros__parameters']['use_sim_time'] = False
    change(document['/**']['ros__parameters'])
    path = tmp_path / 'edited.yaml'
    path.write_text(yaml.safe_dump(document))
    return path


def test_an_unknown_key_is_named_with_the_nearest_known_one(rig, start_policy, tmp_path):
    path = edited(tmp_path, lambda p: p['control'].update(rate_hertz=50.0))
    text = refused(rig, start_policy({}, embodiment=path))
    assert "unknown key 'control.rate_hertz'; did you mean 'rate_hz'?" in text


def test_a_wrong_type_is_named(rig, start_policy, tmp_path):
    path = edited(tmp_path, lambda p: p['control'].update(rate_hz='fast'))
    text = refused(rig, start_policy({}, embodiment=path))
    assert "'control.rate_hz' must be a number, got 'fast'" in text


def test_a_file_that_rcl_cannot_read_ends_in_one_line(rig, start_policy, tmp_path):
    path = edited(tmp_path, lambda p: p.update(arm_names=['arm', 1.5]))
    runner = start_policy({}, embodiment=path)
    rig.wait(lambda: runner.ended('policy_node') is not None, REFUSED_S, 'the process to end')
    assert runner.ended('policy_node') == 2
    log = runner.log('policy_node').read_text()
    assert str(path) in log
    assert 'Traceback' not in log


def test_a_checkpoint_that_is_nowhere_is_named(rig, start_policy):
    assert 'no_such_policy' in refused(rig, start_policy({'policy.checkpoint': 'no_such_policy'}))


def test_a_truncated_checkpoint_is_named(rig, start_policy, still_policy, tmp_path):
    broken = tmp_path / 'broken'
    shutil.copytree(still_policy, broken)
    weights = broken / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-1000])
    text = refused(rig, start_policy({'policy.checkpoint': str(broken)}))
    assert 'model.safetensors' in text


def test_a_domain_that_the_checkpoint_lacks_is_refused(rig, start_policy, still_policy):
    overrides = {'policy.checkpoint': str(still_policy), 'policy.domain_id': 29}
    text = refused(rig, start_policy(overrides))
    assert 'policy.domain_id is 29' in text


def test_a_domain_that_was_never_trained_is_refused(rig, start_policy, still_policy, tmp_path):
    folder = shutil.copytree(still_policy, tmp_path / 'partly')
    state = load_file(folder / 'model.safetensors')
    for side in ('encoder', 'decoder'):
        state[f'transformer.action_{side}.bias.weight'][2] = 0.0
    save_file(state, folder / 'model.safetensors')
    overrides = {'policy.checkpoint': str(folder), 'policy.domain_id': 2}
    text = refused(rig, start_policy(overrides))
    assert 'policy.domain_id 2 was never trained; trained are [0, 1]' in text
