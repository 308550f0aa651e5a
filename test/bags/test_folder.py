# SPDX-License-Identifier: Apache-2.0
"""Which files are one bag, and in which order their messages come."""

from itertools import pairwise
import shutil
import sqlite3
import subprocess
import sys

from bags import STRING, string, write_strings
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, Writer
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
import zstandard

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.message_types import definition, read_message, typestore
from xvla_ros.bags.writer import Bounds
from xvla_ros.core.errors import ObservationError

SECOND = 1_000_000_000


def words(bag, topics=None):
    return [read_message(STRING, raw.data).data.split()[1] for raw in bag.messages(topics)]


def write_mcap(path, rows, encoding='cdr', **options):
    """Write an MCAP file of (topic, time in ms) rows as they come, in small chunks."""
    with path.open('wb') as file:
        writer = Writer(file, chunk_size=400, **options)
        writer.start(profile='ros2', library='a converter')
        schema = writer.register_schema(STRING, 'ros2msg', definition(STRING).encode())
        ids = {}
        for topic, time_ms in rows:
            if topic not in ids:
                ids[topic] = writer.register_channel(topic, encoding, schema)
            time_ns = SECOND + time_ms * 1_000_000
            writer.add_message(ids[topic], time_ns, string(f'at {time_ms} '), time_ns)
        writer.finish()
    return path


BY_TOPIC = [(topic, 10 * i + k) for k, topic in enumerate(('/a', '/b', '/c')) for i in range(300)]


@pytest.mark.parametrize('chunking', [True, False])
@pytest.mark.parametrize('compression', [CompressionType.NONE, CompressionType.ZSTD])
def test_a_file_written_topic_by_topic_comes_in_order(tmp_path, chunking, compression):
    path = write_mcap(
        tmp_path / 'x.mcap', BY_TOPIC, use_chunking=chunking, compression=compression
    )
    bag = open_bag(path)
    assert words(bag) == [str(time_ms) for _, time_ms in sorted(BY_TOPIC, key=lambda row: row[1])]
    assert words(bag, {'/b'}) == [str(10 * i + 1) for i in range(300)]


def test_a_compressed_file_out_of_order_comes_in_order(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap', BY_TOPIC)
    packed = tmp_path / 'x.mcap.zstd'
    packed.write_bytes(zstandard.compress(path.read_bytes()))
    assert words(open_bag(packed)) == words(open_bag(path))


def test_a_damaged_file_out_of_order_comes_in_order_as_far_as_it_goes(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap', BY_TOPIC)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = [int(word) for word in words(open_bag(path))]
    assert len(found) > 300
    assert found == sorted(found)


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(
        st.lists(st.integers(0, 3000), min_size=1, max_size=40), min_size=1, max_size=3
    ),
    chunking=st.booleans(),
)
def test_any_files_of_any_order_are_one_ordered_stream(tmp_path_factory, files, chunking):
    folder = tmp_path_factory.mktemp('any')
    for number, times in enumerate(files):
        rows = [(f'/t{number}', time_ms) for time_ms in times]
        write_mcap(folder / f'x_{number}.mcap', rows, use_chunking=chunking)
    bag = open_bag(folder)
    expected = sorted(time_ms for times in files for time_ms in times)
    assert [int(word) for word in words(bag)] == expected


def test_two_recorders_files_in_one_folder_are_merged_by_time(tmp_path):
    write_mcap(tmp_path / 'arm_0.mcap', [('/a', 10 * i) for i in range(100)])
    write_mcap(tmp_path / 'cameras_0.mcap', [('/b', 10 * i + 5) for i in range(100)])
    assert [int(word) for word in words(open_bag(tmp_path))] == list(range(0, 1000, 5))


def test_takes_of_different_times_are_not_one_bag(tmp_path):
    write_mcap(tmp_path / 'old_0.mcap', [('/a', i) for i in range(100)])
    write_mcap(tmp_path / 'new_0.mcap', [('/a', 10_000 + i) for i in range(100)])
    with pytest.raises(ObservationError, match=r'several recordings.*new, old.*give one file'):
        open_bag(tmp_path)


def test_a_copy_under_another_name_is_not_merged(tmp_path):
    path = write_mcap(tmp_path / 'take_0.mcap', [('/a', i) for i in range(100)])
    shutil.copy(path, tmp_path / 'copy.mcap')
    with pytest.raises(ObservationError, match='the same messages of /a'):
        open_bag(tmp_path)


@pytest.mark.parametrize('metadata', [True, False])
def test_a_decompressed_copy_beside_its_zstd_is_read_once(tmp_path, metadata):
    folder = foreign(tmp_path / 'bag', CompressionMode.FILE)
    (packed,) = folder.glob('*.zstd')
    packed.with_suffix('').write_bytes(
        zstandard.ZstdDecompressor().stream_reader(packed.read_bytes()).read()
    )
    if not metadata:
        (folder / 'metadata.yaml').unlink()
    bag = open_bag(folder)
    assert bag.topics['/words'].count == 50
    assert len(bag.notes) == 1
    assert 'left out' in bag.notes[0]


def foreign(folder, mode, plugin=StoragePlugin.MCAP, count=50):
    writer = Rosbag2Writer(folder, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection('/words', STRING, typestore=typestore())
        for number in range(count):
            writer.write(topic, SECOND + number, string(f'word {number} ' + 'x' * 500))
    return folder


def test_a_listed_file_that_was_decompressed_in_place_is_found(tmp_path):
    folder = foreign(tmp_path / 'bag', CompressionMode.FILE)
    (packed,) = folder.glob('*.zstd')
    packed.with_suffix('').write_bytes(
        zstandard.ZstdDecompressor().stream_reader(packed.read_bytes()).read()
    )
    packed.unlink()
    bag = open_bag(folder)
    assert (bag.topics['/words'].count, bag.gaps) == (50, [])


def test_an_old_take_beside_a_bag_is_left_out_and_named(tmp_path):
    folder = write_strings(tmp_path / 'bag')
    write_mcap(folder / 'old_0.mcap', [('/words', i) for i in range(10)])
    bag = open_bag(folder)
    assert bag.topics['/words'].count == 50
    assert bag.notes == ('old_0.mcap: left out: metadata.yaml does not list it',)


@pytest.mark.parametrize('metadata', [True, False])
def test_a_missing_file_of_a_split_is_a_gap(tmp_path, metadata):
    folder = write_strings(tmp_path / 'bag', bounds=Bounds(split_s=0.1))
    (folder / 'bag_2.mcap').unlink()
    if not metadata:
        (folder / 'metadata.yaml').unlink()
    bag = open_bag(folder)
    assert bag.topics['/words'].count == 40
    assert len(bag.gaps) == 1
    assert 'bag_2' in bag.gaps[0]
    assert 'is missing' in bag.gaps[0]


@pytest.mark.parametrize('text', ['', '[1', 'rosbag2_bagfile_information: {}', '\x00'])
def test_metadata_that_says_nothing_is_passed_over(tmp_path, text):
    folder = write_strings(tmp_path / 'bag')
    (folder / 'metadata.yaml').write_text(text)
    assert open_bag(folder).topics['/words'].count == 50


def test_several_zstd_frames_are_one_file(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap', BY_TOPIC)
    data = path.read_bytes()
    cuts = np.linspace(0, len(data), 5).astype(int)
    frames = [zstandard.compress(data[a:b]) for a, b in pairwise(cuts)]
    packed = tmp_path / 'y.mcap.zstd'
    packed.write_bytes(b''.join(frames))
    assert open_bag(packed).topics['/c'].count == 300
    database = foreign(tmp_path / 'bag', CompressionMode.NONE, StoragePlugin.SQLITE3) / 'bag.db3'
    data = database.read_bytes()
    packed = tmp_path / 'y.db3.zstd'
    packed.write_bytes(zstandard.compress(data[:5000]) + zstandard.compress(data[5000:]))
    assert open_bag(packed).topics['/words'].count == 50


def test_a_message_that_cannot_be_decompressed_costs_only_itself(tmp_path):
    folder = foreign(tmp_path / 'bag', CompressionMode.MESSAGE, StoragePlugin.SQLITE3)
    with sqlite3.connect(folder / 'bag.db3') as database:
        for number, junk in ((7, b'\x28\xb5\x2f\xfd' + b'junk' * 9), (9, b'\x28\xb5\x2f\xfd')):
            database.execute('UPDATE messages SET data = ? WHERE id = ?', (junk, number))
    database.close()
    bag = open_bag(folder)
    assert bag.topics['/words'].count == 48
    assert len(words(bag)) == 48
    assert '2 messages cannot be decompressed' in bag.gaps[0]


def test_a_damaged_page_of_a_database_costs_only_its_messages(tmp_path):
    folder = foreign(tmp_path / 'bag', CompressionMode.NONE, StoragePlugin.SQLITE3, 400)
    (file,) = folder.glob('*.db3')
    data = bytearray(file.read_bytes())
    page = int.from_bytes(data[16:18], 'big')
    hurt = data.index(b'word 200 ') // page * page
    inside = data[hurt : hurt + page].count(b'word ')
    data[hurt : hurt + page] = b'\xff' * page
    file.write_bytes(data)
    bag = open_bag(folder)
    found = [int(word) for word in words(bag)]
    assert found == sorted(found)
    assert 0 < 400 - len(found) <= inside + 1
    assert '200' not in words(bag)
    assert 'malformed' in bag.gaps[0]


def test_messages_of_ros_1_are_told_from_damage(tmp_path):
    path = write_mcap(tmp_path / 'x.mcap', BY_TOPIC, encoding='ros1')
    with pytest.raises(ObservationError, match=r"hold 'ros1' messages.*rosbags-convert"):
        open_bag(path)


def test_a_time_that_is_damage_is_refused(tmp_path):
    rows = [('/a', i) for i in range(20)] + [('/b', 10**11)]
    with pytest.raises(ObservationError, match='1157 days apart; the last is of /b'):
        open_bag(write_mcap(tmp_path / 'x.mcap', rows))


def test_a_part_begins_with_what_was_latched_before(tmp_path):
    bag = open_bag(write_strings(tmp_path / 'bag')).between(0.2, 0.1)
    topics = [raw.topic for raw in bag.messages()]
    assert topics == ['/task'] + ['/words'] * 11
    assert next(bag.messages()).time_ns == bag.start_ns
    assert words(bag, {'/words'}) == [str(i) for i in range(20, 31)]


def test_topics_can_be_renamed(tmp_path):
    bag = open_bag(write_strings(tmp_path / 'bag')).renamed({'/words': '/said'})
    assert set(bag.topics) == {'/task', '/said'}
    assert len(words(bag, {'/said'})) == 50
    assert not words(bag, {'/words'})


def test_memory_does_not_grow_with_a_bag_out_of_order(tmp_path):
    """4 000 messages of 40 kB written topic by topic: 160 MB, read with much less."""
    path = tmp_path / 'large.mcap'
    with path.open('wb') as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start(profile='ros2', library='a converter')
        schema = writer.register_schema(STRING, 'ros2msg', definition(STRING).encode())
        data = string('word 0 ' + 'x' * 40_000)
        for name in ('/a', '/b'):
            channel = writer.register_channel(name, 'cdr', schema)
            for number in range(2_000):
                time_ns = SECOND + number * 1_000_000
                writer.add_message(channel, time_ns, data, time_ns)
        writer.finish()
    code = (
        'import resource, sys; from xvla_ros.bags.bag import open_bag\n'
        'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'bag = open_bag(sys.argv[1]); times = [raw.time_ns for raw in bag.messages()]\n'
        'assert times == sorted(times) and len(times) == 4_000\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)'
    )
    done = subprocess.run([sys.executable, '-c', code, str(path)], capture_output=True, text=True)
    assert not done.stderr
    assert int(done.stdout) < 60_000  # kB
