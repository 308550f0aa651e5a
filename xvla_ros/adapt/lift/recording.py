# SPDX-License-Identifier: Apache-2.0
"""Which demonstrations are recorded, where they are, and their episodes."""

from dataclasses import dataclass
from pathlib import Path
import shutil

from xvla_ros.adapt.lift.bags import record_bag
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.data.context import Context
from xvla_ros.data.episodes import Episode
from xvla_ros.data.opening import load_episodes, open_source
from xvla_ros.sim.scenes import BIMANUAL, PICK, sample_scene, Scene, TRAIN

# A robot with two arms gets so many demonstrations with both for each one with one.
BIMANUAL_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstrations:
    """
    How many are recorded of each robot, and where.

    folder: one bag per robot is in it, and a file that says of what plan it is.
    """

    folder: Path
    count: int
    seed: int = 0

    def scenes(self, embodiment: Embodiment) -> list[Scene]:
        """Return the scenes: one block each, then, for two arms, a block for each arm."""
        arms = len(embodiment.arm_names)
        both = round(BIMANUAL_SHARE * self.count) if arms == 2 else 0
        tasks = [(PICK, n) for n in range(self.count)] + [(BIMANUAL, n) for n in range(both)]
        return [sample_scene(embodiment, TRAIN, self.seed, n, task) for task, n in tasks]

    def bag(self, file: Path) -> Path:
        """Return the bag of a robot; record it first where it is missing or of another plan."""
        embodiment = load_embodiment(file)
        bag = self.folder / embodiment.robot
        done = self.folder / f'{embodiment.robot}.done'
        plan = f'{self.count} demonstrations, seed {self.seed}'
        if done.exists() and done.read_text() == plan:
            return bag
        done.unlink(missing_ok=True)
        shutil.rmtree(bag, ignore_errors=True)
        record_bag(bag, file, self.scenes(embodiment))
        done.write_text(plan)
        return bag

    def episodes(self, file: Path) -> list[Episode]:
        """
        Return a robot's demonstrations, read as any bag is.

        :raises DataError: one cannot be used.
        """
        bag = self.bag(file)
        return load_episodes(open_source(bag), Context(embodiment=load_embodiment(file)))
