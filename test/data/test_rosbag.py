# SPDX-License-Identifier: Apache-2.0
"""Episodes of bags: where they begin, which frames they have, what is refused."""

import shutil

from bags import copy_bag, string
import numpy as np
import pytest

from xvla_ros.core.errors import ConfigError
from xvla_ros.data.context import Context
from xvla_ros.data.errors import DataError
from xvla_ros.data.opening import load_episodes, open_source


@pytest.fixture(scope='module')
def episodes(bag):
    return load_episodes(open_source(bag), Context())


def test_an_instruction_begins_an_episode(episodes):
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.instruction.startswith('pick up the')
        assert 12 <= len(episode) <= 15
        assert episode.fps == pytest.approx(10.0, rel=0.1)
        assert episode.cameras == ('main', 'wrist')
        assert [image.shape for image in episode.look(0)] == [(72, 96, 3)] * 2
    assert len({episode.name for episode in episodes}) == 2


def test_frames_can_be_thinned(bag, episodes, tmp_path):
    (tmp_path / 'slow.yaml').write_text(f'format: rosbag2\npaths: [{bag}]\nfps: 5.0\n')
    slow = load_episodes(open_source(tmp_path / 'slow.yaml'), Context())
    assert [len(e) for e in slow] == [pytest.approx(len(e) / 2, abs=1) for e in episodes]
    again = episodes[0].look(0)
    assert all(np.array_equal(a, b) for a, b in zip(slow[0].look(0), again, strict=True))


def test_a_folder_of_bags_is_many_episodes(bag, tmp_path):
    for number in range(2):
        shutil.copytree(bag, tmp_path / 'all' / f'episode_{number:03d}')
    assert len(load_episodes(open_source(tmp_path / 'all'), Context())) == 4


def test_a_bag_without_a_camera_names_the_topic(bag, tmp_path):
    poor = copy_bag(bag, tmp_path / 'poor', keep=lambda raw: 'wrist' not in raw.topic)
    with pytest.raises(DataError, match=r'poor: camera wrist: no topic'):
        load_episodes(open_source(poor), Context())


def test_an_episode_without_frames_is_named(bag, tmp_path):
    def change(raw):
        return string('pick up the red block') if raw.topic.endswith('/task') else raw.data

    empty = copy_bag(bag, tmp_path / 'empty', lambda raw: 'image' not in raw.topic or early(raw),
                     change)  # fmt: skip
    with pytest.raises(DataError, match=r'episode empty/1: has 0 frames'):
        load_episodes(open_source(empty), Context())


def early(raw):
    return raw.time_ns < 1_700_000_001_400_000_000


def test_a_damaged_image_names_episode_and_frame(bag, tmp_path):
    seen = []

    def change(raw):
        if 'wrist' not in raw.topic:
            return raw.data
        seen.append(raw)
        return raw.data[:-400] + bytes(400) if len(seen) == 5 else raw.data

    cut = copy_bag(bag, tmp_path / 'cut', change=change)
    episode = load_episodes(open_source(cut), Context())[0]
    with pytest.raises(DataError, match=r'cut, episode cut/0, frame [345]: .*cannot decode'):
        [episode.look(frame) for frame in range(len(episode))]


def test_data_that_nothing_describes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='no such file'):
        open_source(tmp_path / 'nothing')
    with pytest.raises(ConfigError, match='nothing says what its numbers mean'):
        open_source(tmp_path)
    with pytest.raises(ConfigError, match=r'unknown description of data .nobody.'):
        open_source(tmp_path, 'nobody')
