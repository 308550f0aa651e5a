# SPDX-License-Identifier: Apache-2.0
"""Train a small policy in three stages: find the blocks, the named one, get there."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from tqdm import tqdm

from xvla_ros.adapt.forward import act, encode, half_precision, image_part, tower_tokens
from xvla_ros.adapt.grounding import GroundingHeads
from xvla_ros.adapt.mixture import Batch, Mixture
from xvla_ros.adapt.optimisation import Optimiser, RunningMean, Schedule
from xvla_ros.model.sampler import mix, stratified_times
from xvla_ros.model.xvla import XVLA

# Share of the grounding losses that stays on while the policy is trained.
GROUNDING_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How long each stage is, in steps of `batch` samples; progress is measured `report` apart."""

    tower_steps: int = 300
    grounding_steps: int = 600
    policy_steps: int = 3000
    batch: int = 33
    seed: int = 0
    report: int = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """A network with the heads that only training needs, and the random numbers it draws."""

    network: XVLA
    heads: GroundingHeads
    generator: torch.Generator


def new_student(network: XVLA, seed: int) -> Student:
    """Give a network fresh heads."""
    florence = network.config.florence
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = GroundingHeads(
            florence['vision_config']['embed_dim'][-1],
            florence['text_config']['d_model'],
            network.config.num_domains,
        )
    return Student(network=network, heads=heads, generator=torch.Generator().manual_seed(seed))


def tower_loss(student: Student, batch: Batch) -> torch.Tensor:
    """Stage one: the vision tower alone finds every block."""
    with half_precision(student.network):
        tokens = tower_tokens(student.network, batch.pixels)
        return student.heads.every_loss(tokens, batch)


def grounding_loss(student: Student, batch: Batch) -> torch.Tensor:
    """Stage two: after the words, the encoder finds the named block."""
    with half_precision(student.network):
        tokens, encoded, _ = encode(student.network, batch)
        every = student.heads.every_loss(tokens, batch)
        return every + student.heads.named_loss(image_part(encoded), batch)


def policy_loss(student: Student, batch: Batch) -> torch.Tensor:
    """Stage three: X-VLA's own loss at stratified flow times, and a little of stage two."""
    network = student.network
    t = stratified_times(len(batch.domain), student.generator)
    noise = torch.randn(batch.actions.shape, generator=student.generator)
    with half_precision(network):
        tokens, encoded, auxiliary = encode(network, batch)
        guess = act(
            network, batch, encoded, auxiliary, mix(noise, batch.actions, t[:, None, None]), t
        )
        loss = sum(network.mode.loss(guess.float(), batch.actions).values())
        every = student.heads.every_loss(tokens, batch)
        named = student.heads.named_loss(image_part(encoded), batch)
    return loss + GROUNDING_SHARE * (every + named)


@torch.no_grad()
def anchor_errors_mm(student: Student, batch: Batch) -> dict[int, tuple[float, float]]:
    """
    Measure one prediction from pure noise (t = 1).

    :return: per domain, the mean distance of the moving arm from the expert, millimetres: over all
        anchors, and horizontally at the last one.
    """
    network = student.network
    noise = torch.randn(batch.actions.shape, generator=student.generator)
    with half_precision(network):
        _, encoded, auxiliary = encode(network, batch)
        guess = act(network, batch, encoded, auxiliary, noise, torch.ones(len(batch.domain)))
    apart = (guess.float() - batch.actions).unflatten(-1, (2, 10))[..., :3]
    everywhere = apart.norm(dim=-1).mean(dim=1).amax(dim=-1)
    last = apart[:, -1, :, :2].norm(dim=-1).amax(dim=-1)
    return {
        domain: tuple(1e3 * x[batch.domain == domain].mean().item() for x in (everywhere, last))
        for domain in batch.domain.unique().tolist()
    }


@torch.no_grad()
def named_accuracy(student: Student, batch: Batch) -> float:
    """Return how often the encoder points at the named block's cell."""
    with half_precision(student.network):
        _, encoded, _ = encode(student.network, batch)
        return student.heads.named_accuracy(image_part(encoded), batch)


def run_stage(
    student: Student,
    name: str,
    loss_of: Callable[[Student, Batch], torch.Tensor],
    schedule: Schedule,
    batches: Callable[[], Batch],
    after: Callable[[int, float], None],
) -> None:
    """
    Optimise one stage.

    :param after: called after every step with the steps done and the loss.
    """
    optimiser = Optimiser(student.network, schedule, student.heads.parameters())
    student.network.train()
    with tqdm(total=schedule.steps, desc=name, unit='step', mininterval=5) as bar:
        for step in range(schedule.steps):
            loss = loss_of(student, batches())
            optimiser.step(loss)
            bar.set_postfix(loss=f'{loss.item():.3f}', refresh=False)
            bar.update()
            after(step + 1, loss.item())


def ground(student: Student, mixture: Mixture, held_out: Batch, recipe: Recipe) -> None:
    """Run the two grounding stages."""

    def report(step: int, loss: float) -> None:
        if step % recipe.report == 0:
            tqdm.write(f'  {step} steps, named cell right {named_accuracy(student, held_out):.0%}')

    for name, loss_of, steps, after in (
        ('find blocks', tower_loss, recipe.tower_steps, lambda step, loss: None),
        ('find the named block', grounding_loss, recipe.grounding_steps, report),
    ):
        schedule = Schedule(steps=steps, warmup_steps=50, falling=0.2)
        run_stage(student, name, loss_of, schedule, lambda: mixture.draw(recipe.batch), after)


def train_policy(
    student: Student,
    mixture: Mixture,
    held_out: Batch,
    recipe: Recipe,
    publish: Callable[[dict[str, torch.Tensor], int], None],
) -> dict[str, torch.Tensor]:
    """
    Run the policy stage.

    :param publish: called at every report with the running mean of the weights, loaded for the
        moment of the call.
    :return: the final running mean.
    """
    mean = RunningMean(student.network)

    def after(step: int, loss: float) -> None:
        mean.update(student.network)
        if step % recipe.report == 0 or step == recipe.policy_steps:
            with weights(student.network, mean.state):
                errors = anchor_errors_mm(student, held_out)
                publish(errors, step)

    schedule = Schedule(steps=recipe.policy_steps)
    run_stage(student, 'act', policy_loss, schedule, lambda: mixture.draw(recipe.batch), after)
    return mean.state


class weights(AbstractContextManager):
    """Put other weights into a network for a while."""

    def __init__(self, network: XVLA, state: dict[str, torch.Tensor]) -> None:
        self.network, self.state = network, state

    def __enter__(self) -> None:
        """Keep the network's weights aside and load the others."""
        self.kept = {name: t.detach().clone() for name, t in self.network.state_dict().items()}
        self.network.load_state_dict(self.state)
        self.network.eval()

    def __exit__(self, *error: object) -> None:
        """Put the kept weights back."""
        self.network.load_state_dict(self.kept)
        self.network.train()
