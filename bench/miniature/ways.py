# SPDX-License-Identifier: Apache-2.0
"""
Four ways to teach the pre-trained network a robot, with equal steps, batches and loss.

random   prompts as they were drawn, never trained
nearest  prompts of the trained row that predicts the new robot's data best, never trained
two-step that row's prompts; first prompts and heads alone are trained, then everything
scratch  no pre-training; everything is trained from the start

In the first three ways, the heads (the row's projections of states and actions) begin as those of
the nearest row and are trained at the full rate, core and VLM at a tenth of it: they differ in the
prompts alone. Scratch has the demo's initial scales and the full rate everywhere.
"""

from collections.abc import Mapping

import torch

from bench.miniature.pretraining import everything, NewRobot
from bench.miniature.size import Place, Size
from xvla_ros.adapt.demo.demo_policy import mixture
from xvla_ros.adapt.demo.initialisation import set_scales
from xvla_ros.adapt.demo.small_network import demo_config
from xvla_ros.adapt.rows import copy_row, guesses, trained_rows
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.stages import PARTS, Plan, Rate, Stage, two_steps
from xvla_ros.model.checkpoint import load_network
from xvla_ros.model.reading import read_config
from xvla_ros.model.xvla import build_network, XVLA

WAYS = ('random', 'nearest', 'two-step', 'scratch')
# As for pre-training, see adapt/demo/objectives.py; and the share of core and VLM.
RATE, SCALE, WARMUP, FALLING = 1e-3, 0.1, 50, 0.3
# Samples by which the nearest row is chosen.
SAMPLES = 120


def pretrained(place: Place) -> XVLA:
    """Return the pre-trained network."""
    folder = place.pretrained
    network = build_network(demo_config(), attention='eager')
    stored = load_network(folder, read_config(folder), torch.float32)
    network.load_state_dict(stored.state_dict())
    return network


@torch.no_grad()
def row_errors(robot: NewRobot, size: Size, place: Place) -> dict[int, float]:
    """Return how far each trained row's predictions are from the robot's data [mm], untrained."""
    student = Student(network=pretrained(place).eval(), dtype=place.dtype)
    pairs = [everything(robot.samples)]
    batch = mixture(pairs, size.seed, SAMPLES, jitter=False).draw(0)
    found = guesses(student, batch, trained_rows(student.network), size.seed)
    done = batch.actions.unflatten(-1, (2, 10))[..., :3]
    apart = {
        row: (torch.from_numpy(guess).unflatten(-1, (2, 10))[..., :3] - done)
        for row, guess in found.items()
    }
    return {
        row: 1e3 * float(error.norm(dim=-1).mean(dim=1).amax(dim=-1).mean())
        for row, error in apart.items()
    }


def network_of(way: str, robot: NewRobot, size: Size, place: Place, nearest: int) -> XVLA:
    """Return the network that a way begins with."""
    row = robot.row
    if way == 'scratch':
        network = build_network(demo_config(), seed=size.seed + 1, attention='eager')
        anchors = network.config.num_actions
        set_scales(network.transformer, [robot.samples], anchors, size.seed + 1)
        return network
    network = pretrained(place)
    drawn = prompts(network)[row].clone()
    copy_row(network, nearest, row)
    if way == 'random':
        with torch.no_grad():
            prompts(network)[row] = drawn
    return network


def prompts(network: XVLA) -> torch.Tensor:
    """Return the table of soft prompts, a row per robot."""
    return network.transformer.soft_prompt_hub.weight


def plan_of(way: str, size: Size) -> Plan:
    """Return the stages of a way."""
    if way == 'two-step':
        return two_steps(
            frozen_steps=size.first, steps=size.steps - size.first, rate=RATE, scale=SCALE,
            warmup=WARMUP, falling=FALLING,
        )  # fmt: skip
    full = Rate(peak=RATE, warmup=WARMUP if way == 'scratch' else 0, falling=FALLING)
    slow = Rate(peak=SCALE * RATE, warmup=WARMUP, falling=FALLING)
    rates: Mapping[str, Rate] = {'heads': full, 'core': slow, 'vlm': slow}
    if way == 'scratch':
        rates = dict.fromkeys((part for part in PARTS if part != 'extra'), full)
    return Plan(stages=(Stage(name='all', steps=size.steps, rates=rates),))
