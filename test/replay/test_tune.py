# SPDX-License-Identifier: Apache-2.0
"""`xvla tune`: the cheapest setting whose chunks stay within an error on a bag's observations."""

from argparse import ArgumentParser
import json

import pytest
import yaml

from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.tune import command, search


def arguments(*words):
    parser = ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_the_cheapest_setting_within_the_error_is_written_with_its_evidence(
    simulated, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(search, 'variants', lambda _: [('torch', 'float32'), ('torch', 'int8')])
    names = ('transformer.blocks.0.mlp.fc1', 'transformer.blocks.0.attn.qkv')
    monkeypatch.setattr(search, 'float_layers', lambda *_: names)
    out = tmp_path / 'tuned.yaml'
    args = arguments('demo_policy', '--bag', simulated, '--out', out, '--observations', 4)
    assert command.run(args) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('torch')]
    assert len(lines) == 2 * len(list(search.runs()))
    exact = lines[0]
    assert ' 0.000 mm' in exact
    assert 'within' in exact
    assert any('beyond' in line for line in lines)  # one step from noise
    text = out.read_text()
    assert all(f'#   {line}' in text for line in lines)
    policy = yaml.safe_load(text)['/**']['ros__parameters']['policy']
    assert policy['denoising_steps'] in (1, 10)
    if policy['dtype'] == 'int8':
        written = json.loads((tmp_path / 'int8.json').read_text())
        assert written == {'float_layers': list(names)}


def test_an_error_of_zero_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='expected more than 0'):
        command.run(arguments('demo_policy', '--bag', tmp_path, '--mm', 0))


def test_no_layer_stays_in_float32_where_the_error_is_small_without(monkeypatch):
    asked = [{'images': [], 'proprio': None, 'instruction': '', 'domain_id': 0}]
    small = search.Deviation(position_mm=0.1, rotation_deg=0.1, gripper=0.0)
    monkeypatch.setattr(search, 'apart', lambda *_: small)
    monkeypatch.setattr(search.Policy, 'predict', lambda *_, **__: None)
    folder = command.checkpoint_folder('demo_policy')
    assert search.float_layers(folder, asked, search.Bound(), print) == ()
