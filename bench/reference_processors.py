"""
Write LeRobot's processor files, and what LeRobot's own code makes of numbers with them.

Runs in `.venv-reference` (scripts/bootstrap-reference), by

    .venv-reference/bin/python bench/reference_processors.py test/model/data/lerobot

One folder per mode: both processor files with their statistics, written by the pipeline of the
wheel, and `answers.npz`: `state` (5, 6) and what the preprocessor makes of it (`normalised`),
`action` (5, 6) as a network would answer it and what the postprocessor makes of it (`restored`).
"""

import argparse
import importlib.util
from pathlib import Path
import sys
from types import ModuleType

import numpy as np

MODES = ('MEAN_STD', 'MIN_MAX', 'QUANTILES', 'QUANTILE10', 'IDENTITY')
JOINTS = 6
# The spread of an SO-101's data in degrees, as stored with smolvla_base; one joint never moves.
SPREAD = np.array([26.4, 52.4, 49.9, 37.0, 59.4, 0.0])


def reference_pipeline() -> tuple:
    """Import the wheel's processors without its robots, datasets and policies."""
    root = Path(importlib.util.find_spec('lerobot').submodule_search_locations[0])
    package = ModuleType('lerobot.processor')
    package.__path__ = [str(root / 'processor')]
    sys.modules['lerobot.processor'] = package
    data = ModuleType('lerobot.datasets')
    data.lerobot_dataset = ModuleType('lerobot.datasets.lerobot_dataset')
    data.lerobot_dataset.LeRobotDataset = object
    sys.modules |= {'lerobot.datasets': data, data.lerobot_dataset.__name__: data.lerobot_dataset}
    from lerobot.configs import types
    from lerobot.processor import converters, normalize_processor, pipeline

    return types, converters, normalize_processor, pipeline


def statistics(seed: int) -> dict[str, np.ndarray]:
    """Draw the statistics of a feature, as LeRobot stores them of a dataset."""
    generator = np.random.default_rng(seed)
    data = generator.standard_normal((1000, JOINTS)) * SPREAD + generator.uniform(-20, 20, JOINTS)
    quantiles = {f'q{q:02d}': np.quantile(data, q / 100, axis=0) for q in (1, 10, 50, 90, 99)}
    found = {'min': data.min(0), 'max': data.max(0), 'mean': data.mean(0), 'std': data.std(0)}
    return {name: values.astype(np.float32) for name, values in (found | quantiles).items()}


def write(folder: Path, mode: str) -> None:
    """Write one mode's processor files and answers."""
    import torch

    types, converters, normalize, pipeline = reference_pipeline()
    state = types.PolicyFeature(type=types.FeatureType.STATE, shape=(JOINTS,))
    action = types.PolicyFeature(type=types.FeatureType.ACTION, shape=(JOINTS,))
    stats = {'observation.state': statistics(1), 'action': statistics(2)}
    kinds = {types.FeatureType.STATE, types.FeatureType.ACTION}
    both = {'norm_map': dict.fromkeys(kinds, types.NormalizationMode(mode)), 'stats': stats}
    features = {'observation.state': state, 'action': action}
    before = pipeline.PolicyProcessorPipeline(
        steps=[normalize.NormalizerProcessorStep(features=features, **both)],
        name='policy_preprocessor',
    )
    after = pipeline.PolicyProcessorPipeline(
        steps=[normalize.UnnormalizerProcessorStep(features={'action': action}, **both)],
        name='policy_postprocessor',
        to_transition=converters.policy_action_to_transition,
        to_output=converters.transition_to_policy_action,
    )
    for part in (before, after):
        part.save_pretrained(folder)
    generator = np.random.default_rng(3)
    states = torch.tensor(generator.uniform(-90, 90, (5, JOINTS)), dtype=torch.float32)
    actions = torch.tensor(generator.standard_normal((5, JOINTS)), dtype=torch.float32)
    np.savez(
        folder / 'answers.npz',
        state=states.numpy(),
        normalised=before({'observation.state': states})['observation.state'].numpy(),
        action=actions.numpy(),
        restored=after(actions.clone()).numpy(),
    )


def main() -> None:
    """Write a folder per mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    out = parser.parse_args().out
    for mode in MODES:
        (out / mode.lower()).mkdir(parents=True, exist_ok=True)
        write(out / mode.lower(), mode)


if __name__ == '__main__':
    main()
