# SPDX-License-Identifier: Apache-2.0
"""A checkpoint and demonstrations that are small enough to train with in a test."""

import numpy as np
import torch

from xvla_ros.adapt.trainer.progress import lines, LOG, training_folder
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.data.episodes import Episode
from xvla_ros.model.writing import save_policy
from xvla_ros.testing.miniature import small_network, small_tokenizer

TRAINED, FREE = (0, 1), 2  # rows of the checkpoint
FRAMES, PERIOD_S = 24, 0.1
TASKS = ('pick up the red block', 'pick up the blue block')


def robot(name='franka_sim'):
    return load_embodiment(shared_file('config', f'{name}.yaml'))


def write_checkpoint(folder, **changes):
    """Write a checkpoint with random weights, in which one row was never trained."""
    network = small_network(**changes)
    head = network.transformer
    with torch.no_grad():
        for layer in (head.action_encoder, head.action_decoder):
            layer.bias.weight[FREE] = 0.0
    save_policy(folder, network, small_tokenizer(), (40, 40))
    return folder


def demonstration(number, frames=FRAMES, cameras=2, arms=1):
    """Return an episode that ends where a bright spot is, under one of two tasks."""
    random = np.random.default_rng(number)
    target = np.array([0.5, random.uniform(-0.2, 0.2), 0.1])
    share = np.linspace(0, 1, frames)[:, None]
    path = (1 - share) * [0.35, 0.0, 0.35] + share * target
    image = random.integers(0, 60, (40, 40, 3), dtype=np.uint8)
    column = int(20 + 80 * target[1])
    image[18:22, column - 2 : column + 2] = 255
    down = np.array([1.0, 0.0, 0.0, 0.0])
    return Episode(
        name=f'test {number}',
        instruction=TASKS[number % 2],
        times_s=PERIOD_S * np.arange(frames),
        positions=np.repeat(path[:, None], arms, axis=1),
        quaternions=np.tile(down, (frames, arms, 1)),
        openings=np.tile((share < 0.8).astype(float), (1, arms)),
        look=lambda frame: tuple(np.roll(image, frame, axis=0) for _ in range(cameras)),
    )


def demonstrations(count=6, **options):
    return [demonstration(number, **options) for number in range(count)]


def losses(out):
    """Return the loss of each step of the run that wrote its policy to this folder."""
    found = lines(training_folder(out) / LOG)
    return {line['step']: line['loss'] for line in found if 'loss' in line}
