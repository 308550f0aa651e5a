# SPDX-License-Identifier: Apache-2.0
"""A bag becomes a LeRobot dataset and comes back; what is broken is named."""

import json
import os
import shutil

import av
import numpy as np
import pyarrow.parquet as parquet
import pytest

from xvla_ros.core.errors import ConfigError
from xvla_ros.data.context import Context
from xvla_ros.data.errors import DataError
from xvla_ros.data.opening import load_episodes, open_source
from xvla_ros.data.video import Video
from xvla_ros.data.writers.encoding import CODECS, VideoWriter
from xvla_ros.tools.cli import main

STATISTICS = {'min', 'max', 'mean', 'std', 'count', 'q01', 'q10', 'q50', 'q90', 'q99'}


@pytest.fixture(scope='module', params=['av1', 'h264', 'png'])
def converted(request, bag, tmp_path_factory):
    folder = tmp_path_factory.mktemp('lerobot') / request.param
    command = ['convert-data', str(bag), '--to', 'lerobot', '--out', str(folder)]
    assert main([*command, '--images', request.param]) == 0
    return folder


@pytest.fixture
def av1(bag, tmp_path):
    folder = tmp_path / 'av1'
    assert main(['convert-data', str(bag), '--to', 'lerobot', '--out', str(folder)]) == 0
    return folder


def both(bag, folder):
    return zip(
        load_episodes(open_source(bag), Context()),
        load_episodes(open_source(folder), Context()),
        strict=True,
    )


def test_numbers_come_back(bag, converted):
    for before, after in both(bag, converted):
        assert after.instruction == before.instruction
        assert np.abs(after.times_s - before.times_s).max() < 1e-6
        assert np.abs(after.positions - before.positions).max() < 1e-6
        assert np.abs(after.openings - before.openings).max() < 1e-6
        turned = np.abs(np.sum(after.quaternions * before.quaternions, axis=-1))
        assert np.abs(turned - 1).max() < 1e-6
        assert after.cameras == before.cameras


@pytest.mark.parametrize('codec', CODECS)
def test_an_encoder_gives_no_thread_another_priority(tmp_path, codec):
    """For root, libsvtav1 makes its threads and the calling one real-time."""
    before = os.sched_getscheduler(0)
    writer = VideoWriter(tmp_path / 'video.mp4', codec, 10)
    for _ in range(3):
        writer.add(np.zeros((64, 64, 3), np.uint8))
    threads = map(int, os.listdir('/proc/self/task'))
    assert os.SCHED_FIFO not in {os.sched_getscheduler(thread) for thread in threads}
    assert os.sched_getscheduler(0) == before
    writer.close()
    assert os.sched_getscheduler(0) == before


def test_images_come_back_in_any_order(bag, converted):
    allowed = {'png': 0.0, 'av1': 4.0, 'h264': 4.0}[converted.name]
    for before, after in both(bag, converted):
        for frame in [*range(len(before)), 2, len(before) - 1, 0]:
            for a, b in zip(before.look(frame), after.look(frame), strict=True):
                assert np.abs(a.astype(int) - b.astype(int)).mean() <= allowed


def test_the_meta_files_are_what_lerobot_reads(converted):
    info = json.loads((converted / 'meta' / 'info.json').read_text())
    assert info['codebase_version'] == 'v3.0'
    assert (info['total_episodes'], info['fps'], info['splits']) == (2, 10, {'train': '0:2'})
    kind = 'image' if converted.name == 'png' else 'video'
    camera = info['features']['observation.images.main']
    assert (camera['dtype'], camera['shape']) == (kind, [72, 96, 3])
    assert info['features']['action']['shape'] == [20]
    assert len(info['features']['action']['names']) == 20
    stats = json.loads((converted / 'meta' / 'stats.json').read_text())
    assert set(stats['observation.state']) == STATISTICS
    assert np.shape(stats['observation.images.main']['mean']) == (3, 1, 1)
    tasks = parquet.read_table(converted / 'meta' / 'tasks.parquet')
    assert set(tasks.column_names) == {'task_index', 'task'}
    assert json.loads(tasks.schema.metadata[b'pandas'])['index_columns'] == ['task']


def test_rows_and_episodes_agree(converted):
    rows = parquet.ParquetFile(converted / 'data' / 'chunk-000' / 'file-000.parquet')
    assert rows.num_row_groups == 2
    table = rows.read()
    assert b'huggingface' in table.schema.metadata
    assert table['index'].to_pylist() == list(range(table.num_rows))
    assert table['timestamp'].to_numpy() == pytest.approx(table['frame_index'].to_numpy() / 10)
    episodes = parquet.read_table(converted / 'meta/episodes/chunk-000/file-000.parquet')
    first, second = episodes.to_pylist()
    assert second['dataset_from_index'] == first['dataset_to_index'] == first['length']
    assert first['tasks'][0].startswith('pick up the')
    assert {f'stats/action/{name}' for name in STATISTICS} <= set(first)
    if converted.name != 'png':
        end = first['videos/observation.images.main/to_timestamp']
        assert end == pytest.approx(first['length'] / 10)
        assert second['videos/observation.images.main/from_timestamp'] == end


def old_layout(folder, version):
    """Rewrite a dataset as v2: one file per episode, jsonl in place of parquet."""
    episodes = parquet.read_table(folder / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
    table = parquet.read_table(folder / 'data/chunk-000/file-000.parquet')
    for episode in episodes:
        begin, length = episode['dataset_from_index'], episode['length']
        name = f'episode_{episode["episode_index"]:06d}'
        parquet.write_table(table.slice(begin, length), folder / f'data/chunk-000/{name}.parquet')
        for key in ('observation.images.main', 'observation.images.wrist'):
            source = Video(folder / f'videos/{key}/chunk-000/file-000.mp4')
            start = episode[f'videos/{key}/from_timestamp']
            target = folder / f'videos/chunk-000/{key}/{name}.mp4'
            write_video(target, [source.at(start + i / 10, 0.05) for i in range(length)])
    (folder / 'data/chunk-000/file-000.parquet').unlink()
    shutil.rmtree(folder / 'meta/episodes')
    write_lines(folder / 'meta/episodes.jsonl', [
        {'episode_index': e['episode_index'], 'tasks': e['tasks'], 'length': e['length']}
        for e in episodes
    ])  # fmt: skip
    tasks = parquet.read_table(folder / 'meta/tasks.parquet').to_pylist()
    write_lines(folder / 'meta/tasks.jsonl', tasks)
    (folder / 'meta/tasks.parquet').unlink()
    edit(folder / 'meta/info.json', {
        'codebase_version': version,
        'data_path': 'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet',
        'video_path':
            'videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4',
    })  # fmt: skip


def write_lines(file, rows):
    file.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def edit(file, changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def write_video(path, images):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=10, options={'g': '30'})
        stream.height, stream.width = images[0].shape[:2]
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode(None))


@pytest.mark.parametrize('version', ['v2.0', 'v2.1'])
def test_older_versions_are_read(bag, av1, version):
    old_layout(av1, version)
    for before, after in both(bag, av1):
        assert after.instruction == before.instruction
        assert np.abs(after.positions - before.positions).max() < 1e-6
        for frame in (5, 0, len(before) - 1):
            for a, b in zip(before.look(frame), after.look(frame), strict=True):
                assert np.abs(a.astype(int) - b.astype(int)).mean() < 6


def test_stale_places_of_episodes_do_no_harm(bag, av1):
    (av1 / 'data/chunk-000/file-000.parquet').rename(av1 / 'data/chunk-000/file-007.parquet')
    assert len(list(both(bag, av1))) == 2


def refused(folder, words):
    with pytest.raises(ConfigError, match=words):
        load_episodes(open_source(folder), Context())


def test_a_missing_frame_is_named(av1):
    path = av1 / 'videos/observation.images.wrist/chunk-000/file-000.mp4'
    video = Video(path)
    times = video.times_s[:-3]
    write_video(path, [video.at(float(t), 0.05) for t in times])
    refused(av1, r'file-000.mp4, episode 1, frame \d+: the video .* has no frame at')


def test_an_unknown_codec_is_named(av1):
    path = av1 / 'videos/observation.images.main/chunk-000/file-000.mp4'
    path.write_bytes(path.read_bytes().replace(b'av01', b'zz01'))
    refused(av1, r'file-000.mp4, episode 0: the codec')


def rewrite(folder, change):
    file = folder / 'data/chunk-000/file-000.parquet'
    table = parquet.read_table(file)
    rows = table.to_pylist()
    rows = change(rows) or rows
    parquet.write_table(type(table).from_pylist(rows, schema=table.schema), file)


def test_what_is_no_number_is_named(av1):
    def change(rows):
        rows[4]['observation.state'][1] = float('nan')

    rewrite(av1, change)
    refused(av1, r'file-000.parquet, episode 0, frame 4: positions is not a number')


def test_unsorted_stamps_are_named(av1):
    def change(rows):
        rows[6]['observation.stamp'] = rows[5]['observation.stamp']

    rewrite(av1, change)
    refused(av1, r'episode 0, frame 6: its time is .* not after the one before')


def test_missing_rows_are_named(av1):
    rewrite(av1, lambda rows: rows[:-1])
    refused(av1, r'episode 1: has \d+ rows, its meta file says \d+')


def test_another_layout_of_rotations_is_found(av1):
    file = av1 / 'xvla_source.yaml'
    file.write_text(file.read_text().replace('interleaved', 'contiguous'))
    refused(av1, r"episode 0, frame 0: 'observation.state\[3:9\]' is no rotate6d_contiguous")


def test_a_reference_to_nothing_is_named(av1):
    file = av1 / 'xvla_source.yaml'
    file.write_text(file.read_text().replace('observation.state[0:3]', 'observation.pose[0:3]'))
    refused(av1, r"episode 0: has no 'observation.pose'")


def test_the_error_says_where(av1):
    rewrite(av1, lambda rows: rows[:-1])
    with pytest.raises(DataError) as caught:
        load_episodes(open_source(av1), Context())
    assert (caught.value.episode, caught.value.what) == ('1', 'missing')


def test_few_files_are_open_at_a_time(converted, monkeypatch):
    monkeypatch.setattr('xvla_ros.data.video.MOST_OPEN', 1)
    monkeypatch.setattr(Video, '_opened', {})
    for episode in load_episodes(open_source(converted), Context()):
        first = episode.look(2)  # two cameras: each closes the other
        assert all(np.array_equal(a, b) for a, b in zip(first, episode.look(2), strict=True))
    assert len(Video._opened) <= 1
