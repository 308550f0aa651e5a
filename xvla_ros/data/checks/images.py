# SPDX-License-Identifier: Apache-2.0
"""Checks images: whether they can be decoded, and change while an arm moves."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.findings import Finding, PROBLEM, WARNING
from xvla_ros.data.checks.asked import Asked, at
from xvla_ros.data.episodes import Episode, Images
from xvla_ros.data.errors import DataError

# A frame and its image of one camera.
Shown = tuple[int, NDArray[np.uint8]]
# An arm that moves this far [m] must change the images.
SEEN_M = 0.01
# An image whose values spread less (of 255) shows nothing.
FLAT = 1.0


def sampled(episode: Episode, count: int) -> list[int]:
    """Return frames that are evenly spread over an episode."""
    return sorted({*np.linspace(0, len(episode) - 1, count).astype(int).tolist()})


def check_images(episode: Episode, asked: Asked) -> Iterator[Finding]:
    """Yield what is wrong with the images of some frames of an episode."""
    frames = sampled(episode, asked.images) if asked.images else []
    seen: list[tuple[int, Images]] = []
    for frame in frames:
        try:
            seen.append((frame, episode.look(frame)))
        except DataError as error:
            yield at(episode, PROBLEM, error.what, error.text, frame)
    if not seen:
        return
    for index in range(min(len(images) for _, images in seen)):
        name = episode.cameras[index] if index < len(episode.cameras) else str(index)
        yield from _camera(episode, name, [(frame, shown[index]) for frame, shown in seen])
    yield from _count(episode, asked, len(seen[0][1]))


def _camera(
    episode: Episode, name: str, shown: list[tuple[int, NDArray[np.uint8]]]
) -> Iterator[Finding]:
    for frame, image in shown:
        if image.std() < FLAT:
            found = f'{name} shows nothing: all values are about {image.mean():.0f}'
            yield at(episode, WARNING, 'camera', found, frame)
            break
    first, *others = shown
    same = [f for f, p in others if p.shape == first[1].shape and np.array_equal(p, first[1])]
    if others and len(same) == len(others) and _travel(episode) > SEEN_M:
        found = f'{name} is frozen: {len(shown)} images over all of it are the same'
        yield at(episode, PROBLEM, 'frozen', found, others[0][0])


def _travel(episode: Episode) -> float:
    """Return how far any tool gets from where it began [m]."""
    apart = np.linalg.norm(episode.positions - episode.positions[:1], axis=-1)
    return float(apart.max())


def _count(episode: Episode, asked: Asked, cameras: int) -> Iterator[Finding]:
    if asked.embodiment is not None and cameras != len(asked.embodiment.camera_names):
        found = f'has {cameras} cameras, {asked.embodiment.robot} has '
        found += (
            f'{len(asked.embodiment.camera_names)}: {", ".join(asked.embodiment.camera_names)}'
        )
        yield at(episode, WARNING, 'cameras', found)
