# SPDX-License-Identifier: Apache-2.0
"""Runs one episode of the demo and watches what is reached and lifted."""

import sys
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from xvla_ros.sim.lifting import LiftJudge
from xvla_ros.sim.scenes import Scene
from xvla_ros.tools.demo.judge import Patience, ReachJudge
from xvla_ros.tools.demo.report import Episode

if TYPE_CHECKING:  # these need ROS, but --help does not
    from rclpy.task import Future

    from xvla_ros.tools.demo.client import DemoClient, SceneView

# How often an episode continues after a stop of the arms.
RECOVERIES = 1
# Words for RunTask.Result.outcome.
FAULT = 3
OUTCOMES = {1: 'timed out', 2: 'canceled', FAULT: 'stopped'}


def run_episode(
    client: 'DemoClient', scene: Scene, number: int, time_limit_s: float, bar: 'tqdm[int]'
) -> Episode:
    """
    Run a scene that has begun until its blocks are lifted or time is up; continue after one stop.

    A policy that only reaches its block is not waited for long, see `Patience`.

    :param number: of the episode. :param time_limit_s: in simulated time [s].
    :param bar: shows the distance to the block, and prints stops.
    """
    episode = Episode(number=number, instruction=scene.instruction)
    watch = EpisodeWatch(scene, episode, client, bar)
    for _ in range(1 + RECOVERIES):
        left_s = time_limit_s - episode.seconds
        if left_s <= 0 or episode.succeeded or episode.lifted:
            break
        handle = client.send_task(scene.instruction, left_s)
        watch.until_ended(handle.get_result_async())
        result = client.end_task(handle)
        episode.chunks += result.chunks
        episode.outcome = OUTCOMES.get(result.outcome, 'ended')
        if result.outcome != FAULT:
            break
        episode.stops.append(result.message)
        bar.write(f'episode {number}: stopped: {result.message}', file=sys.stderr)
        client.recover()
    return episode


class EpisodeWatch:
    """Watches one episode, and stores its result, its smallest distance and its frames in it."""

    def __init__(
        self,
        scene: Scene,
        episode: Episode,
        client: 'DemoClient',
        bar: 'tqdm[int]',
    ) -> None:
        """Begin to watch now; `bar` shows the distance to the block."""
        self._scene, self._episode, self._client, self._bar = scene, episode, client, bar
        assert client.scene is not None  # the scene has begun
        self._judge, self._begun_s = ReachJudge(), client.scene.stamp_s
        self._lifting, self._patience, self._over = LiftJudge(), Patience(), False
        self._frame: NDArray[np.uint8] | None = None

    def until_ended(self, ended: 'Future') -> None:
        """Watch until the blocks are lifted, nothing more is expected, or the task has ended."""
        while not (self._over or ended.done()):
            self._client.spin()
            self._look()

    def _look(self) -> None:
        """Judge the current scene, show the distance, and store a new camera frame."""
        view, episode = self._client.scene, self._episode
        assert view is not None  # the episode began with a view
        tool = view.positions[f'tool/{self._scene.arm}']
        block = view.positions[f'block/{self._scene.colour}']
        progress = self._judge.look(view.stamp_s, tool, block)
        if not episode.succeeded:
            episode.seconds = view.stamp_s - self._begun_s
        episode.succeeded, episode.best_m = progress.succeeded, progress.best_m
        self._look_at_lifts(view)
        tired = self._patience.ended(view.stamp_s, episode.succeeded, float((tool - block)[2]))
        self._over = episode.lifted or tired
        distance = f'{progress.distance_m * 100:4.1f} cm off'
        self._bar.set_postfix_str(f'{self._scene.colour}: {distance}', refresh=False)
        if self._client.frame is not None and self._client.frame is not self._frame:
            self._frame = self._client.frame
            episode.frames.append(self._frame)

    def _look_at_lifts(self, view: 'SceneView') -> None:
        """Store which blocks are lifted, and which others were picked up."""
        tools, blocks = (
            {n.removeprefix(kind): p for n, p in view.positions.items() if n.startswith(kind)}
            for kind in ('tool/', 'block/')
        )
        lifts = self._lifting.look(view.stamp_s, tools, blocks)
        self._episode.lifted = lifts.done(self._scene)
        self._episode.wrong = lifts.wrong(self._scene)
