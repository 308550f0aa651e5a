# SPDX-License-Identifier: Apache-2.0
"""The three stages of the demo policy: find all blocks, find the named one, act."""

from dataclasses import dataclass

import torch

from xvla_ros.adapt.demo.grounding import GroundingHeads
from xvla_ros.adapt.demo.mixture import GroundedBatch
from xvla_ros.adapt.trainer.batches import Batch
from xvla_ros.adapt.trainer.forward import (
    act,
    as_tokens,
    encode,
    encode_maps,
    feature_map,
    image_part,
    tower_tokens,
)
from xvla_ros.adapt.trainer.objective import Losses, noisy_actions, Objective, Student
from xvla_ros.adapt.trainer.stages import PARTS, Plan, Rate, Stage
from xvla_ros.model.xvla import XVLA

# Share of the grounding losses that stays on while the policy is trained.
GROUNDING_SHARE = 0.1
RATE = 1e-3
FIND, NAMED, ACT = 'find blocks', 'find the named block', 'act'


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How long each stage is, in steps of `batch` samples; progress is measured `report` apart."""

    tower_steps: int = 300
    grounding_steps: int = 600
    policy_steps: int = 3000
    batch: int = 33
    seed: int = 0
    report: int = 100

    def plan(self) -> Plan:
        """Return the stages; all parts are trained in each, and the optimiser begins anew."""
        short = Rate(peak=RATE, warmup=50, falling=0.2)
        long = Rate(peak=RATE, warmup=150, falling=0.4)
        return Plan(
            stages=tuple(
                Stage(name=name, steps=steps, rates=dict.fromkeys(PARTS, rate), fresh=True)
                for name, steps, rate in (
                    (FIND, self.tower_steps, short),
                    (NAMED, self.grounding_steps, short),
                    (ACT, self.policy_steps, long),
                )
            )
        )


def new_student(network: XVLA, seed: int, dtype: torch.dtype = torch.float32) -> Student:
    """Give a network fresh heads."""
    florence = network.config.florence
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = GroundingHeads(
            florence['vision_config']['embed_dim'][-1],
            florence['text_config']['d_model'],
            network.config.num_domains,
        )
    return Student(network=network, heads=heads, dtype=dtype)


def parts_of(student: Student, batch: Batch) -> tuple[GroundingHeads, GroundedBatch]:
    """Return the grounding heads of a student and a batch that says where the blocks are."""
    assert isinstance(student.heads, GroundingHeads)
    assert isinstance(batch, GroundedBatch)
    return student.heads, batch


def tower_loss(student: Student, batch: Batch, generator: torch.Generator) -> Losses:
    """Stage one: the vision tower alone finds every block."""
    heads, grounded = parts_of(student, batch)
    with student.arithmetic():
        return {'every': heads.every_loss(tower_tokens(student.network, batch.pixels), grounded)}


def grounding_loss(student: Student, batch: Batch, generator: torch.Generator) -> Losses:
    """Stage two: given the instruction, the encoder finds the named block."""
    with student.arithmetic():
        losses, _, _ = _grounded(student, batch)
    return losses


def policy_loss(student: Student, batch: Batch, generator: torch.Generator) -> Losses:
    """Stage three: X-VLA's own loss at stratified flow times, and a little of stage two."""
    network = student.network
    noisy, t = noisy_actions(student, batch, generator)
    with student.arithmetic():
        grounding, encoded, auxiliary = _grounded(student, batch)
        guess = act(network, batch, encoded, auxiliary, noisy, t)
        losses = network.mode.loss(guess.float(), batch.actions)
    return losses | {name: GROUNDING_SHARE * term for name, term in grounding.items()}


def _grounded(student: Student, batch: Batch) -> tuple[Losses, torch.Tensor, torch.Tensor]:
    """Return the losses of finding blocks, and the encoder's two outputs."""
    heads, grounded = parts_of(student, batch)
    maps = feature_map(student.network, batch.pixels)
    encoded, auxiliary = encode_maps(student.network, batch, maps)
    every = heads.every_loss(as_tokens(maps), grounded)
    named = heads.named_loss(image_part(encoded), grounded)
    return {'every': every, 'named': named}, encoded, auxiliary


OBJECTIVES: dict[str, Objective] = {FIND: tower_loss, NAMED: grounding_loss, ACT: policy_loss}


@torch.no_grad()
def anchor_errors_mm(student: Student, batch: Batch, seed: int) -> dict[int, tuple[float, float]]:
    """
    Measure one prediction from pure noise (t = 1).

    :return: per domain, the mean distance of the moving arm from the expert, millimetres: over all
        anchors, and horizontally at the last one.
    """
    network = student.network
    noise = torch.randn(batch.actions.shape, generator=torch.Generator().manual_seed(seed))
    with student.arithmetic():
        encoded, auxiliary = encode(network, batch)
        guess = act(network, batch, encoded, auxiliary, noise, torch.ones(len(batch.domain)))
    apart = (guess.float() - batch.actions).unflatten(-1, (2, 10))[..., :3]
    everywhere = apart.norm(dim=-1).mean(dim=1).amax(dim=-1)
    last = apart[:, -1, :, :2].norm(dim=-1).amax(dim=-1)
    errors = {}
    for domain in sorted(set(batch.domain.tolist())):
        mine = batch.domain == domain
        errors[domain] = 1e3 * float(everywhere[mine].mean()), 1e3 * float(last[mine].mean())
    return errors


@torch.no_grad()
def named_accuracy(student: Student, batch: Batch) -> float:
    """Return how often the encoder points at the named block's cell."""
    heads, grounded = parts_of(student, batch)
    with student.arithmetic():
        encoded, _ = encode(student.network, batch)
        return heads.named_accuracy(image_part(encoded), grounded)
