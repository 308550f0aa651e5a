# SPDX-License-Identifier: Apache-2.0
"""Exported graphs answer as torch does, in every way that a policy is asked."""

from importlib.util import find_spec
import logging

from counts import FULL
import numpy as np
import pytest
import torch

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model import load_policy, WarmStart
from xvla_ros.model.action_modes import MODES
from xvla_ros.model.backends import choice, runtimes
from xvla_ros.model.backends.export import ALLOWED, check, export
from xvla_ros.model.backends.exported import read_manifest
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.reading import read_config
from xvla_ros.testing.miniature import noise, observation, write_small

BACKENDS = ('onnxruntime', 'openvino')
MISSING = [name for name in ('onnx', 'onnxscript', 'onnxruntime') if find_spec(name) is None]
needs_export = pytest.mark.skipif(bool(MISSING), reason=f'not installed: {", ".join(MISSING)}')


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    if MISSING:
        pytest.skip(f'not installed: {", ".join(MISSING)}')
    folder = tmp_path_factory.mktemp('exported') / 'onnx'
    export('demo_policy', folder, 'onnx')
    return folder


@pytest.fixture(scope='module')
def exact():
    return load_policy('demo_policy')


@pytest.fixture(scope='module', params=BACKENDS)
def policy(request, exported):
    if find_spec(request.param) is None:
        pytest.skip(f'not installed: {request.param}')
    return load_policy(exported, backend=request.param)


def close(a, b, limit):
    return np.abs(np.asarray(a) - np.asarray(b)).max() <= limit


def test_features_and_chunks_are_those_of_torch(exact, policy):
    for views in (1, 2, 3):
        asked = observation(seed=views, views=views)
        features = [p.view_features(asked['images']) for p in (exact, policy)]
        assert close(*features, ALLOWED['features'])
        chunks = [p.predict(**asked, noise=noise(exact)) for p in (exact, policy)]
        assert close(*chunks, ALLOWED['actions'])
    assert policy.trained_domains == exact.trained_domains


def test_every_way_to_ask_gives_what_torch_gives(exact, policy):
    asked, drawn = observation(), noise(exact)
    plan = exact.predict(**asked, noise=drawn)
    ways = (
        {'steps': 3},
        {'steps': (1.0, 0.1)},
        {'prefix': plan[:4]},
        {'warm_start': WarmStart(plan=plan, time=0.1), 'steps': 1},
        {'warm_start': WarmStart(plan=None, time=0.1), 'steps': 1},
        {'tolerance': (0.2, 0.1)},
    )
    for way in ways:
        chunks = [p.predict(**asked, noise=drawn, **way) for p in (exact, policy)]
        assert close(*chunks, ALLOWED['actions']), way
        assert exact.last_steps == policy.last_steps, way


def test_a_batch_of_different_views_is_answered_and_repeats_are_the_same_bits(exact, policy):
    class Asked:
        def __init__(self, seed, views):
            self.__dict__ |= observation(seed, views) | {'noise': noise(exact, seed)}

    questions = [Asked(0, 1), Asked(1, 3), Asked(2, 2)]
    ours, theirs = (p.predict_batch(questions, steps=2) for p in (policy, exact))
    assert close(ours, theirs, ALLOWED['actions'])
    assert np.array_equal(ours, policy.predict_batch(questions, steps=2))


@pytest.mark.slow
@needs_export
@pytest.mark.skipif(not FULL, reason='exports once per mode: XVLA_TEST_FULL=1')
@pytest.mark.parametrize('mode', sorted(MODES))
def test_any_action_mode_can_be_exported(mode, tmp_path):
    changes = {'action_mode': mode, 'max_action_dim': 20, 'real_action_dim': 14}
    source = write_small(tmp_path / 'source', use_hetero_proj=True, **changes)
    manifest = export(source, tmp_path / 'target', 'onnx')
    assert all(manifest.errors[name] <= limit for name, limit in ALLOWED.items())
    assert read_manifest(tmp_path / 'target') == manifest
    assert load_policy(tmp_path / 'target').mode.name == mode


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason='converts once more: XVLA_TEST_FULL=1')
def test_openvinos_own_files_answer_as_torch(exact, tmp_path):
    if MISSING or find_spec('openvino') is None:
        pytest.skip('not installed: openvino')
    export('demo_policy', tmp_path / 'ir', 'openvino')
    answers = [
        p.predict(**observation(), noise=noise(exact))
        for p in (exact, load_policy(tmp_path / 'ir'))
    ]
    assert close(*answers, ALLOWED['actions'])


def test_auto_takes_torch_for_a_checkpoint_and_says_which_runtime_it_chose(
    exported, checkpoint, caplog
):
    assert choice.chosen_backend(checkpoint, 'auto') == 'torch'
    there = [name for name in BACKENDS if find_spec(name)]
    with caplog.at_level(logging.INFO):
        assert choice.chosen_backend(exported, 'auto') in there
    assert len(there) < 2 or 'one step takes' in caplog.text


def test_what_does_not_fit_is_refused_by_name(exported, checkpoint, tmp_path):
    refusals = [
        (checkpoint, {'backend': 'onnxruntime'}, 'xvla export'),
        (checkpoint, {'backend': 'tensorrt'}, "backend 'tensorrt' is unknown"),
        (exported, {'backend': 'torch'}, 'does not run'),
        (exported, {'backend': 'onnxruntime', 'dtype': 'bfloat16'}, 'not bfloat16'),
        (exported, {'backend': 'onnxruntime', 'device': 'cuda'}, 'CUDAExecutionProvider'),
        (exported, {'backend': 'onnxruntime', 'adapter': checkpoint}, 'xvla export'),
    ]
    for folder, options, words in refusals:
        with pytest.raises(CheckpointError, match=words):
            load_policy(folder, **options)
    (tmp_path / 'occupied').mkdir()
    (tmp_path / 'occupied' / 'file').touch()
    with pytest.raises(CheckpointError, match='not an empty directory'):
        export(checkpoint, tmp_path / 'occupied', 'onnx')


def test_a_missing_package_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setattr(runtimes, 'find_spec', lambda _: None)
    with pytest.raises(CheckpointError, match=r'-m pip install onnxruntime$'):
        runtimes.required('onnxruntime', 'backend onnxruntime')


def test_graphs_that_differ_too_much_are_refused(exported):
    network = load_network(checkpoint_folder('demo_policy'), read_config(exported), torch.float32)
    network.transformer.norm.bias.data.add_(0.1)
    with pytest.raises(CheckpointError, match='actions differ from torch by'):
        check(exported, network, (96, 96), read_manifest(exported))
