# SPDX-License-Identifier: Apache-2.0
"""All checks over all episodes of a source, while they are read."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING
from xvla_ros.data.checks.asked import Asked
from xvla_ros.data.checks.grippers import Grippers
from xvla_ros.data.checks.images import check_images
from xvla_ros.data.checks.motion import check_motion, still_frames
from xvla_ros.data.checks.words import check_instruction
from xvla_ros.data.context import Result
from xvla_ros.data.episodes import Episode
from xvla_ros.data.errors import DataError

# Anchors of the embodiment and of the data may span times that differ by this share.
SPAN_SHARE = 0.1


class Checker:
    """Checks one episode after the other; `findings` reports on all of them."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._grippers = asked, Grippers(asked)
        self.episodes = self.frames = self._still = 0
        self._tasks: Counter[str] = Counter()
        self._lengths_s: list[float] = []
        self._rates: list[float] = []

    def see(self, result: Result) -> Iterator[Finding]:
        """Yield what is wrong with one episode."""
        if isinstance(result, DataError):
            yield Finding(
                level=PROBLEM, name=result.what, found=result.text, file=result.file,
                episode=result.episode, frame=result.frame,
            )  # fmt: skip
            return
        self._count(result)
        yield from check_motion(result, self._asked)
        yield from check_instruction(result, self._asked)
        yield from check_images(result, self._asked)

    def _count(self, episode: Episode) -> None:
        self.episodes += 1
        self.frames += len(episode)
        self._still += int(still_frames(episode).sum())
        self._tasks[episode.instruction] += 1
        self._lengths_s.append(float(episode.times_s[-1]))
        self._rates.append(episode.fps)
        self._grippers.see(episode)

    def findings(self) -> Iterator[Finding]:
        """Yield what is true of all episodes."""
        if not self.episodes:
            yield Finding(level=PROBLEM, name='episodes', found='there is none that can be used')
            return
        yield Finding(
            level=OK,
            name='episodes',
            found=f'{self.episodes} with {self.frames} frames, {min(self._lengths_s):.1f} to '
            f'{max(self._lengths_s):.1f} s long, {np.median(self._rates):.1f} frames a second',
        )
        yield Finding(
            level=OK,
            name='tasks',
            found=f'{len(self._tasks)} instructions, {min(self._tasks.values())} to '
            f'{max(self._tasks.values())} episodes of each',
        )
        yield Finding(
            level=OK,
            name='still frames',
            found=f'{self._still / self.frames:.0%}: left out of training',
        )
        yield from self._grippers.findings()
        yield from self._span()

    def _span(self) -> Iterator[Finding]:
        """Compare how long anchors are with what the data is for, and with the episodes."""
        asked = self._asked
        if asked.embodiment is None:
            return
        policy = asked.embodiment.policy
        span_s = policy.anchor_period_s / policy.anchor_stride * asked.anchors
        found = f'{asked.anchors} anchors span {span_s:.2f} s'
        if asked.window_s and abs(span_s - asked.window_s) > SPAN_SHARE * asked.window_s:
            yield Finding(
                level=PROBLEM,
                name='anchors',
                found=f'{found} by the embodiment, {asked.window_s:g} s by the source',
                fix='policy.anchor_period_s of the embodiment, or window_s of the source',
            )
            return
        short = sum(length < span_s for length in self._lengths_s)
        level = WARNING if short == self.episodes else OK
        yield Finding(
            level=level, name='anchors',
            found=f'{found}; {short} of {self.episodes} episodes are shorter',
        )  # fmt: skip


def check_all(results: Iterable[Result], asked: Asked) -> Iterator[Finding]:
    """Yield what is wrong with each episode, then what is true of all."""
    checker = Checker(asked)
    for result in results:
        yield from checker.see(result)
    yield from checker.findings()


def refuse_broken(episodes: Iterable[Episode], asked: Asked) -> None:
    """
    Stop before training on data that is wrong.

    :raises DataError: the first problem, with file, episode and frame.
    """
    for finding in check_all(episodes, asked):
        if finding.level == PROBLEM:
            fix = f' -> {finding.fix}' if finding.fix else ''
            raise DataError(
                f'{finding.name}: {finding.found}{fix}', file=finding.file,
                episode=finding.episode, frame=finding.frame, what=finding.name,
            )  # fmt: skip
