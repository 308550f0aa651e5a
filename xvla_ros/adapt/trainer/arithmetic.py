# SPDX-License-Identifier: Apache-2.0
"""
The arithmetic of a training step: float32, or bfloat16 products where those are faster.

Weights, gradients and the optimiser's state are float32 either way; with bfloat16, autocast
rounds what goes into matrix products. On a processor with AVX-512 or AMX for bfloat16 a step of
the demo policy is 1.6 times as fast with it, on others up to 20 times slower, so it is measured.
"""

from collections.abc import Callable

import torch

from xvla_ros.adapt.demo.small_network import demo_config, IMAGE_SIDE, VOCABULARY
from xvla_ros.adapt.trainer.batches import Batch
from xvla_ros.adapt.trainer.objective import policy_losses, Student
from xvla_ros.adapt.trainer.optimisation import Descent, Optimiser, parameters_of
from xvla_ros.adapt.trainer.stages import PARTS, Rate, Stage
from xvla_ros.model.measured import fastest, measured, Measurement, Question
from xvla_ros.model.xvla import build_network

# By the names of `xvla adapt --dtype`; float32 unless bfloat16 is clearly faster.
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
VIEWS = 2
ALL = Stage(name='all', steps=1000, rates=dict.fromkeys(PARTS, Rate(peak=1e-4)))


def training_dtype(name: str = 'auto', device: str = 'cpu') -> torch.dtype:
    """
    Return the dtype of matrix products in training.

    :param name: float32, bfloat16, or auto for the faster one: measured on a processor;
        bfloat16 on a GPU that has it.
    """
    if name != 'auto':
        return DTYPES[name]
    if device.startswith('cuda'):
        return DTYPES['bfloat16' if torch.cuda.is_bf16_supported() else 'float32']
    return DTYPES[fastest(step_times().seconds, tuple(DTYPES))]


def step_times() -> Measurement:
    """Return how long a training step of the demo policy's network takes per sample, by dtype."""
    return measured(Question(name='training', ways=tuple(DTYPES), prepare=_steps))


def _steps() -> dict[str, Callable[[int], object]]:
    """Return a training step of each dtype, on a batch of so many samples."""
    return {name: _step(dtype) for name, dtype in DTYPES.items()}


def _step(dtype: torch.dtype) -> Callable[[int], object]:
    student = Student(network=build_network(demo_config(), attention='eager'), dtype=dtype)
    optimiser = Optimiser(parameters_of(student.network), Descent())
    optimiser.enter(ALL)
    student.network.train()
    generator = torch.Generator().manual_seed(0)

    def step(size: int) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            terms = policy_losses(student, invented_batch(size), generator)
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step(ALL, 0)

    return step


def invented_batch(size: int) -> Batch:
    """Return random samples in the shapes of the demo's network, with two views each."""
    config, side = demo_config(), IMAGE_SIDE
    mask = torch.zeros(size, config.view_slots, dtype=torch.bool)
    mask[:, :VIEWS] = True
    return Batch(
        tokens=torch.randint(VOCABULARY, (size, config.text_length)),
        pixels=torch.randn(size * VIEWS, 3, side, side),
        mask=mask,
        proprio=torch.randn(size, 20),
        actions=torch.rand(size, config.num_actions, 20),
        domain=torch.arange(size) % config.num_domains,
    )
