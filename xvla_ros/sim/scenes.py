# SPDX-License-Identifier: Apache-2.0
"""
Scenes: where the blocks lie, which one is named, and how everything looks.

A scene follows from four numbers, SeedSequence([purpose, crc32 of the robot's name, seed,
episode]), so a scene of one purpose is never a scene of another.
"""

from dataclasses import dataclass
import zlib

import numpy as np

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.sim_settings import SimArmSettings

TRAIN, EVALUATE, VALIDATE = 1, 2, 3
PURPOSES = (TRAIN, EVALUATE, VALIDATE)
COLOURS = ('red', 'green', 'blue')
# Between block centres, in block edges: an open gripper comes down beside another block.
LEAST_SPACING = 2.3
MOST_YAW_RAD = 0.35
MOST_CAMERA_SHIFT_M = 0.01
ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block on the table: centre x, y in the world [m], yaw [rad]."""

    colour: str
    x_m: float
    y_m: float
    yaw_rad: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a scene looks. Lists are tuples so that scenes compare and hash."""

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
    One episode's start.

    colour: of the block that the instruction names. arm: the one whose side that block lies on.
    """

    purpose: int
    seed: int
    episode: int
    colour: str
    arm: str
    blocks: tuple[Block, ...]
    look: Look

    @property
    def instruction(self) -> str:
        """What the robot is told."""
        return f'pick up the {self.colour} block'


def sample_scene(embodiment: Embodiment, purpose: int, seed: int, episode: int) -> Scene:
    """
    Return the scene of one episode; colours take turns, and so do the arms of a pair.

    :param purpose: TRAIN, EVALUATE or VALIDATE.
    """
    if purpose not in PURPOSES or embodiment.sim is None:
        raise ConfigError(
            f'a scene needs a purpose of {PURPOSES} and a sim block, got purpose {purpose}'
        )
    sequence = np.random.SeedSequence(
        [purpose, zlib.crc32(embodiment.robot.encode()), seed, episode]
    )
    rng = np.random.default_rng(sequence)
    names = embodiment.arm_names
    arm = names[episode % len(names)]
    colour = COLOURS[episode // len(names) % len(COLOURS)]
    sides = {c: arm if c == colour else names[rng.integers(len(names))] for c in COLOURS}
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
    )


def _blocks(
    rng: np.random.Generator, areas: list[tuple[str, SimArmSettings]], size_m: float
) -> tuple[Block, ...]:
    """Return one block per colour inside its arm's area, all well apart."""
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


def _to_world(place: np.ndarray, arm: SimArmSettings) -> np.ndarray:
    cos, sin = np.cos(arm.base_yaw_rad), np.sin(arm.base_yaw_rad)
    return np.array([[cos, -sin], [sin, cos]]) @ place + arm.base_position_m[:2]


def _look(rng: np.random.Generator, cameras: int) -> Look:
    """Return a random look: light, table and floor, shades of the colours, cameras a bit off."""
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
