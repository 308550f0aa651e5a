# SPDX-License-Identifier: Apache-2.0
"""Checks of a checkpoint and whether it fits the robot."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ARM_SIZE, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import XvlaError
from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING
from xvla_ros.core.rotations import rotate6d_residual, ROTATION_LAYOUTS


def checkpoint_findings(embodiment: Embodiment) -> Iterator[Finding]:
    """Load the model, or connect to the server; check that it fits and predicts rotations."""
    from xvla_ros.runtime.predictor import check_fit, make_predictor
    from xvla_ros.tools.doctor.data import data_findings

    settings = embodiment.policy
    source = settings.checkpoint or settings.server_url
    try:
        predictor, facts = make_predictor(settings)
        yield from data_findings(embodiment, facts)
        check_fit(embodiment, facts)
    except XvlaError as error:
        fix = 'see docs: `xvla inspect` describes a checkpoint'
        yield Finding(level=PROBLEM, name='checkpoint', found=str(error), fix=fix)
        return
    yield Finding(
        level=OK,
        name='checkpoint',
        found=f'{source}: {facts.action_mode}, {facts.num_actions} actions, domain '
        f'{settings.domain_id} of {facts.num_domains}, {facts.view_slots} view slots for '
        f'{len(embodiment.camera_names)} cameras',
    )
    images = [np.full((224, 224, 3), 127, np.uint8)] * len(embodiment.camera_names)
    noise = None
    if facts.num_actions and facts.dim_noise:
        noise = np.zeros((facts.num_actions, facts.dim_noise), np.float32)
    try:
        raw = predictor.predict(
            images,
            np.zeros(facts.dim_proprio or facts.dim_action or 20, np.float32),
            settings.instruction or 'move',
            settings.domain_id,
            steps=settings.denoising_steps,
            noise=noise,
        )
    except XvlaError as error:
        fix = 'it loads but does not answer: try another denoising_steps or dtype'
        yield Finding(level=PROBLEM, name='Rotate6D', found=str(error), fix=fix)
        return
    if not embodiment.joint_space:
        yield rotation_finding(embodiment, raw)


def rotation_finding(embodiment: Embodiment, raw: NDArray[np.float32]) -> Finding:
    """Check that a raw chunk (T, 20) has rotations in the embodiment's layout."""
    named, limit = embodiment.policy.rotation_6d_layout, embodiment.limits.max_rotation_residual
    residuals = {layout: _residual(embodiment, raw, layout) for layout in ROTATION_LAYOUTS}
    found = ', '.join(f'{layout} {value:.3f}' for layout, value in residuals.items())
    better = min(residuals, key=residuals.__getitem__)
    if residuals[named] <= limit:
        return Finding(level=OK, name='Rotate6D', found=f'mean residual: {found}')
    if residuals[better] <= limit:
        fix = f"policy.rotation_6d_layout is '{named}', this checkpoint uses '{better}'"
        return Finding(level=PROBLEM, name='Rotate6D', found=f'mean residual: {found}', fix=fix)
    fix = 'grey test images may cause this; check with `xvla replay` of a real bag'
    return Finding(level=WARNING, name='Rotate6D', found=f'mean residual: {found}', fix=fix)


def _residual(embodiment: Embodiment, raw: NDArray[np.float32], layout: str) -> float:
    arms = len(embodiment.arm_names)
    values = [raw[:, ARM_SIZE * index :][:, :ARM_SIZE][:, ROTATION] for index in range(arms)]
    return float(np.mean([rotate6d_residual(each, layout) for each in values]))
