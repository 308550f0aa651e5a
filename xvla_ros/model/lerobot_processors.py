# SPDX-License-Identifier: Apache-2.0
"""
LeRobot's pipelines before and after a policy, with the robot's row of the prompts.

Without these files LeRobot cannot serve a folder, and its own default row is 0, which published
checkpoints have never trained (policies/xvla/processor_xvla.py).
"""

from collections.abc import Mapping
from typing import Any

PRE, POST = 'policy_preprocessor', 'policy_postprocessor'
# Published checkpoints of tool poses have no statistics of states and actions.
IDENTITY = {kind: 'IDENTITY' for kind in ('VISUAL', 'STATE', 'ACTION')}


def processors_json(
    config: Mapping[str, Any], domain: int, mapping: Mapping[str, str] = IDENTITY
) -> dict[str, dict[str, Any]]:
    """
    Return the two files by name.

    :param config: in LeRobot's schema, see `lerobot_json`. domain: row of the soft prompts.
    :param mapping: how each kind of number is normalised; see `state_files`.
    """
    inputs, outputs = config['input_features'], config['output_features']
    before = [
        step('rename_observations_processor', rename_map={}),
        step('to_batch_processor'),
        step(
            'tokenizer_processor',
            max_length=config['tokenizer_max_length'],
            task_key='task',
            padding_side='right',
            padding='max_length',
            truncation=True,
            tokenizer_name=config['tokenizer_name'],
        ),
        step('xvla_image_to_float', image_keys=None, validate_range=True),
        step('xvla_imagenet_normalize', image_keys=None),
        step('xvla_add_domain_id', domain_id=domain),
        step('device_processor', device='cpu', float_dtype=None),
        step('normalizer_processor', **normalisation({**inputs, **outputs}, mapping)),
    ]
    behind = [
        step('unnormalizer_processor', **normalisation(outputs, mapping)),
        step('device_processor', device='cpu', float_dtype=None),
    ]
    pipelines = {PRE: before, POST: behind}
    if dict(mapping) != IDENTITY:
        for name, steps in pipelines.items():
            name_statistics(name, steps)
    return {f'{name}.json': {'name': name, 'steps': s} for name, s in pipelines.items()}


def name_statistics(pipeline: str, steps: list[dict[str, Any]]) -> None:
    """Name the file of each step that needs statistics, as LeRobot does."""
    for number, one in enumerate(steps):
        if 'norm_map' in one['config']:
            one['state_file'] = f'{pipeline}_step_{number}_{one["registry_name"]}.safetensors'


def state_files(pipeline: Mapping[str, Any]) -> list[str]:
    """Return the files of statistics that a pipeline names."""
    return [one['state_file'] for one in pipeline['steps'] if 'state_file' in one]


def step(name: str, **config: Any) -> dict[str, Any]:
    """Return one step with LeRobot's registered name."""
    return {'registry_name': name, 'config': config}


def normalisation(features: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a step that normalises numbers."""
    return {'eps': 1e-8, 'features': dict(features), 'norm_map': dict(mapping)}
