# SPDX-License-Identifier: Apache-2.0
"""
Scenes: where the blocks are, which one the instruction names, and how everything looks.

A scene is a function of SeedSequence([purpose, crc32 of the robot's name, seed, episode]). Scenes
for training, validation and evaluation have different purposes, so they never coincide.
"""

from dataclasses import dataclass
import zlib

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.sim_settings import SimArmSettings

TRAIN, EVALUATE, VALIDATE = 1, 2, 3
PURPOSES = (TRAIN, EVALUATE, VALIDATE)
COLOURS = ('red', 'green', 'blue')
# Tasks, and what each adds to the key of a scene.
PICK, BIMANUAL = 'pick', 'bimanual'
TASK_KEYS: dict[str, tuple[int, ...]] = {PICK: (), BIMANUAL: (1,)}
# Least distance between block centres, in lengths of a block's edge: an open gripper must fit
# between two blocks.
LEAST_SPACING = 2.3
MOST_YAW_RAD = 0.35
MOST_CAMERA_SHIFT_M = 0.01
ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block on the table: its centre x, y in the world frame [m], and its yaw [rad]."""

    colour: str
    x_m: float
    y_m: float
    yaw_rad: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """
    How a scene looks. Sequences are tuples, so that scenes can be compared and hashed.

    light_position_m: (3,) in the world frame. light, ambient: brightness, 0 to 1. table_rgb,
    floor_rgb: (3,), 0 to 1. block_shade: brightness of each block in the order of COLOURS.
    camera_shifts_m: for each of `sim.cameras`, shifts of its position (3,) and its target (3,).
    """

    light_position_m: tuple[float, ...]
    light: float
    ambient: float
    table_rgb: tuple[float, ...]
    floor_rgb: tuple[float, ...]
    block_shade: tuple[float, ...]
    camera_shifts_m: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """
    The start of one episode.

    colour: of the block that the instruction names. arm: the arm on whose side that block lies.
    purpose, seed, episode: the numbers that the scene was sampled from. also: the arm and the
    colour of a second block that the instruction names, for the other arm; empty for one block.
    """

    purpose: int
    seed: int
    episode: int
    colour: str
    arm: str
    blocks: tuple[Block, ...]
    look: Look
    also: tuple[tuple[str, str], ...] = ()

    @property
    def picks(self) -> dict[str, str]:
        """The colour of each arm's block; an arm without one stays at home."""
        return {self.arm: self.colour, **dict(self.also)}

    @property
    def instruction(self) -> str:
        """The instruction for the policy."""
        return f'pick up the {" and the ".join(self.picks.values())} block'


def sample_scene(
    embodiment: Embodiment, purpose: int, seed: int, episode: int, task: str = PICK
) -> Scene:
    """
    Return the scene of one episode. From one to the next the arm changes, then the colour.

    :param purpose: TRAIN, EVALUATE or VALIDATE.
    :param seed: not negative. :param episode: number of the episode, not negative.
    :param task: PICK, one block; BIMANUAL, a block for each of two arms.
    :raises ConfigError: the purpose or the task is unknown or not possible, the embodiment has no
        `sim` block, or its block areas have no room for the blocks.
    """
    if purpose not in PURPOSES or embodiment.sim is None:
        raise ConfigError(
            f"a scene needs a purpose of {PURPOSES} and a 'sim' block, got purpose {purpose}"
        )
    _check_task(embodiment, task)
    key = [purpose, zlib.crc32(embodiment.robot.encode()), seed, episode]
    rng = np.random.default_rng(np.random.SeedSequence([*key, *TASK_KEYS[task]]))
    names = embodiment.arm_names
    arm = names[episode % len(names)]
    number = episode // len(names)
    colour = COLOURS[number % len(COLOURS)]
    also: tuple[tuple[str, str], ...] = ()
    if task == BIMANUAL:
        others = [c for c in COLOURS if c != colour]
        also = ((names[1 - names.index(arm)], others[number // len(COLOURS) % 2]),)
    fixed = {colour: arm} | {c: a for a, c in also}
    sides = {c: fixed.get(c) or names[rng.integers(len(names))] for c in COLOURS}
    return Scene(
        purpose=purpose,
        seed=seed,
        episode=episode,
        colour=colour,
        arm=arm,
        blocks=_blocks(
            rng,
            [(c, embodiment.sim.arms[a]) for c, a in sides.items()],
            embodiment.sim.block_size_m,
        ),
        look=_look(rng, len(embodiment.sim.cameras)),
        also=also,
    )


def _check_task(embodiment: Embodiment, task: str) -> None:
    if task not in TASK_KEYS:
        raise ConfigError(f"no task '{task}': expected one of {', '.join(TASK_KEYS)}")
    if task == BIMANUAL and len(embodiment.arm_names) != 2:
        raise ConfigError(
            f"task '{BIMANUAL}' needs two arms, embodiment '{embodiment.robot}' has "
            f'{len(embodiment.arm_names)}'
        )


def _blocks(
    rng: np.random.Generator, areas: list[tuple[str, SimArmSettings]], size_m: float
) -> tuple[Block, ...]:
    """Return one block per colour in its arm's area, LEAST_SPACING apart."""
    for _ in range(ATTEMPTS):
        places = np.array(
            [_to_world(rng.uniform(a.block_min_m, a.block_max_m), a) for _, a in areas]
        )
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)[
            np.triu_indices(len(places), 1)
        ]
        if gaps.min() >= LEAST_SPACING * size_m:
            yaws = rng.uniform(-MOST_YAW_RAD, MOST_YAW_RAD, len(places))
            return tuple(
                Block(colour=c, x_m=float(p[0]), y_m=float(p[1]), yaw_rad=float(yaw))
                for (c, _), p, yaw in zip(areas, places, yaws, strict=True)
            )
    raise ConfigError(
        f'no room for {len(areas)} blocks of {size_m} m in the block areas: make them larger'
    )


def _to_world(place: NDArray[np.float64], arm: SimArmSettings) -> NDArray[np.float64]:
    cos, sin = np.cos(arm.base_yaw_rad), np.sin(arm.base_yaw_rad)
    turned: NDArray[np.float64] = np.array([[cos, -sin], [sin, cos]]) @ place
    return turned + arm.base_position_m[:2]


def _look(rng: np.random.Generator, cameras: int) -> Look:
    """Return a random look: light, table, floor, shades of the blocks and camera shifts."""
    table = rng.uniform(0.45, 0.75) * (1 + rng.uniform(-0.12, 0.12, 3))
    shifts = rng.uniform(-MOST_CAMERA_SHIFT_M, MOST_CAMERA_SHIFT_M, (cameras, 6))
    return Look(
        light_position_m=tuple(rng.uniform((-0.3, -1.0, 1.6), (1.2, 1.0, 2.4)).tolist()),
        light=float(rng.uniform(0.35, 0.6)),
        ambient=float(rng.uniform(0.3, 0.45)),
        table_rgb=tuple(table.tolist()),
        floor_rgb=tuple((rng.uniform(0.2, 0.45) * (1 + rng.uniform(-0.15, 0.15, 3))).tolist()),
        block_shade=tuple(rng.uniform(0.75, 1.0, len(COLOURS)).tolist()),
        camera_shifts_m=tuple(map(tuple, shifts.tolist())),
    )
