# SPDX-License-Identifier: Apache-2.0
"""
Episodes as HDF5 files with a meta file, as the authors' train.py reads them.

One arm is written as their domain AIRBOT, two as AIR-AGILEX-HQ, because the authors' readers are
one per domain. Their reader takes images as cv2 decodes them, so those are stored with red and
blue swapped: what it takes is RGB.
"""

from collections.abc import Iterable
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xvla_ros.core.ee6d import ARM_SIZE, GRIPPER
from xvla_ros.core.errors import ConfigError
from xvla_ros.data.episodes import Episode
from xvla_ros.data.writers.beside import write_source
from xvla_ros.data.writers.encoding import jpeg, LOSSLESS, png
from xvla_ros.data.writers.options import WriteOptions
from xvla_ros.data.writers.vectors import ee6d_rows

META, INSTRUCTION, IMAGES = 'meta.json', 'language_instruction', 'observations/images/'
# Domain and key by the number of arms, and what an open gripper is: closed is below 0.5 in the
# one, and below 0.02 m in the other.
DOMAINS = {1: ('AIRBOT', 'eef_6d', 1.0), 2: ('AIR-AGILEX-HQ', 'observations/eef_6d', 0.07)}
TIMES = ('observations/eef_left_time', 'observations/eef_right_time')
STAMP = 'observations/time'


def write(folder: Path, episodes: Iterable[Episode], options: WriteOptions) -> int:
    """
    Write one file per episode and the meta file; return how many episodes there are.

    :raises DataError: an episode cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[str] = []
    first: Episode | None = None
    for episode in episodes:
        first = first or episode
        name = f'episode_{len(files):06d}.hdf5'
        with h5py.File(folder / name, 'w') as file:
            _write_episode(file, episode, options)
        files.append(name)
    if first is None:
        raise ConfigError('there is no episode to write')
    _write_meta(folder, first, files)
    arms = options.arms_of(first.openings.shape[1])
    _, key, is_open = DOMAINS[len(arms)]
    cameras = {name: {'key': IMAGES + name, 'file_colours': 'bgr'} for name in first.cameras}
    head = {'format': 'hdf5', 'paths': ['episode_*.hdf5'], 'times': STAMP,
            'instruction_key': INSTRUCTION, 'cameras': cameras}  # fmt: skip
    write_source(folder, head, arms, options, (key, ''), (is_open, 0.0))
    return len(files)


def _write_episode(file: Any, episode: Episode, options: WriteOptions) -> None:
    arms = episode.openings.shape[1]
    _, key, is_open = DOMAINS[arms]
    rows = ee6d_rows(episode.motion)[:, : ARM_SIZE * arms]
    rows[:, GRIPPER::ARM_SIZE] = episode.openings * is_open
    file[key], file[STAMP] = rows, episode.times_s
    if arms > 1:
        for name in TIMES:
            file[name] = episode.times_s
    file[INSTRUCTION] = episode.instruction
    pack = png if options.images == LOSSLESS else jpeg
    stored = [
        file.create_dataset(IMAGES + name, (len(episode),), h5py.vlen_dtype(np.uint8))
        for name in episode.cameras
    ]
    for frame in range(len(episode)):
        for data, image in zip(stored, episode.look(frame), strict=True):
            data[frame] = np.frombuffer(pack(image[..., ::-1]), np.uint8)


def _write_meta(folder: Path, first: Episode, files: list[str]) -> None:
    meta = {
        'dataset_name': DOMAINS[first.openings.shape[1]][0],
        'datalist': [str((folder / name).resolve()) for name in files],
        'observation_key': [IMAGES + name for name in first.cameras],
        'language_instruction_key': INSTRUCTION,
    }
    (folder / META).write_text(json.dumps(meta, indent=2) + '\n', encoding='utf-8')
