# SPDX-License-Identifier: Apache-2.0
"""Bags in every state: whole, split, killed, truncated, compressed, foreign, wrong."""

import os
import resource
import signal
import subprocess
import sys
import time

from bags import ROOT, STRING, string, write_strings
from checkout import with_checkout
from mcap.reader import make_reader
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.message_types import definition, read_message, typestore
from xvla_ros.bags.writer import BagWriter, Bounds, Channel
from xvla_ros.core.errors import ConfigError, ObservationError


def words(bag):
    return [read_message(STRING, raw.data).data for raw in bag.messages({'/words'})]


def test_what_was_written_is_read_in_order(tmp_path):
    bag = open_bag(write_strings(tmp_path / 'bag'))
    assert [word.split()[1] for word in words(bag)] == [str(i) for i in range(50)]
    assert bag.topics['/words'].count == 50
    assert bag.topics['/words'].rate_hz == pytest.approx(100.0)
    assert not bag.gaps


def test_rosbags_reads_what_we_write(tmp_path):
    from rosbags.rosbag2 import Reader

    folder = write_strings(tmp_path / 'bag', bounds=Bounds(split_s=0.1))
    with Reader(folder) as reader:
        texts = [read_message(STRING, data).data for _, _, data in reader.messages()]
    assert [t for t in texts if t.startswith('word')] == words(open_bag(folder))


def test_split_files_are_one_bag_and_each_is_one_alone(tmp_path):
    folder = write_strings(tmp_path / 'bag', bounds=Bounds(split_s=0.1))
    files = sorted(folder.glob('*.mcap'))
    assert len(files) == 5
    whole = open_bag(folder)
    assert len(words(whole)) == 50
    assert whole.topics['/task'].count == 1  # not once per file
    for file in files:
        assert open_bag(file).topics['/task'].count == 1


def test_a_bound_keeps_the_newest(tmp_path):
    bounds = Bounds(max_bytes=2_000_000)
    folder = write_strings(tmp_path / 'bag', count=500, size=20_000, bounds=bounds)
    size = sum(file.stat().st_size for file in folder.glob('*.mcap'))
    assert 1_000_000 < size <= 2_000_000
    bag = open_bag(folder)
    assert words(bag)[-1].startswith('word 499 ')
    assert bag.topics['/task'].count == 1


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ConfigError, match='not empty'):
        BagWriter(tmp_path, {'/words': Channel(kind=STRING)}, Bounds())


WRITE_FOR_EVER = """
import sys
from pathlib import Path
sys.path.insert(0, 'test/support')
from bags import STRING, string
from xvla_ros.bags.writer import BagWriter, Bounds, Channel
with BagWriter(Path(sys.argv[1]), {'/words': Channel(kind=STRING)}, Bounds()) as writer:
    number = 0
    while True:
        text = f'word {number} ' + 'x' * 9000
        writer.write('/words', 1_000_000_000 + number * 10_000_000, string(text))
        print(number, flush=True)
        number += 1
"""


@pytest.mark.parametrize('count', [3, 60, 150, 301, 800])
def test_a_killed_recorder_loses_half_a_second_and_less_than_a_megabyte(tmp_path, count):
    folder = tmp_path / 'bag'
    process = subprocess.Popen(
        [sys.executable, '-c', WRITE_FOR_EVER, str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env=with_checkout(),
    )  # fmt: skip
    for _ in range(count):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    written = int(rest[-1]) if rest else last
    if written < 50:  # less than half a second: there may be nothing yet
        return
    bag = open_bag(folder)
    said = words(bag)
    assert [int(word.split()[1]) for word in said] == list(range(len(said)))
    assert (written - len(said)) * 10_000_000 < 1_000_000_000
    assert (written - len(said)) * 9000 < 1_000_000
    assert 'ends early' in bag.gaps[0]


@pytest.mark.parametrize('share', [0.1, 0.35, 0.6, 0.85, 0.98])
def test_a_truncated_bag_is_read_to_its_last_whole_record(tmp_path, share):
    folder = write_strings(tmp_path / 'bag', size=2000)
    whole = words(open_bag(folder))
    (file,) = folder.glob('*.mcap')
    os.truncate(file, int(file.stat().st_size * share))
    bag = open_bag(folder)
    assert words(bag) == whole[: len(words(bag))]
    assert abs(len(words(bag)) / len(whole) - share) < 0.1
    assert len(bag.gaps) == 1
    assert 'ends early, at byte' in bag.gaps[0]


def test_a_damaged_file_among_whole_ones_costs_only_itself(tmp_path):
    folder = write_strings(tmp_path / 'bag', bounds=Bounds(split_s=0.1))
    os.truncate(folder / 'bag_1.mcap', 0)
    bag = open_bag(folder)
    assert len(words(bag)) == 40
    assert bag.gaps == ['bag_1.mcap: empty']


def foreign(folder, plugin, mode):
    """Write a bag with another program's writer."""
    writer = Writer(folder, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection('/words', STRING, typestore=typestore())
        for number in range(50):
            writer.write(topic, 1_000_000_000 + number, string(f'word {number}'))
    return folder


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize(
    'mode', [CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE]
)
def test_bags_of_others_are_read(tmp_path, plugin, mode):
    bag = open_bag(foreign(tmp_path / 'bag', plugin, mode))
    assert words(bag) == [f'word {number}' for number in range(50)]
    assert bag.recording is None


def test_compressed_chunks_are_read(tmp_path):
    folder = foreign(tmp_path / 'bag', StoragePlugin.MCAP, CompressionMode.STORAGE)
    assert len(words(open_bag(folder))) == 50


def test_a_truncated_database_says_so(tmp_path):
    folder = foreign(tmp_path / 'bag', StoragePlugin.SQLITE3, CompressionMode.NONE)
    (file,) = folder.glob('*.db3')
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ObservationError, match='no message that can be read: bag'):
        open_bag(folder)


def one_file(folder, name, data):
    folder.mkdir()
    (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ('name', 'data', 'says'),
    [
        ('bag_0.mcap', b'', 'empty'),
        ('bag_0.mcap', b'hello, this is no bag at all', 'not an MCAP file'),
        ('bag_0.db3', b'hello, this is no bag at all', 'not an SQLite database'),
        ('image.png', b'\x89PNG', 'no file ending in .mcap, .db3'),
    ],
)
def test_what_is_no_bag_is_refused_by_name(tmp_path, name, data, says):
    with pytest.raises(ObservationError, match=says):
        open_bag(one_file(tmp_path / 'bag', name, data))


def test_a_bag_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ObservationError, match='no such bag'):
        open_bag(tmp_path / 'nothing')


def test_a_bag_of_ros_1_says_what_converts_it(tmp_path):
    file = tmp_path / 'old.bag'
    file.write_bytes(b'#ROSBAG V2.0')
    with pytest.raises(ObservationError, match='rosbags-convert'):
        open_bag(file)


def test_a_gigabyte_message_is_refused_before_it_is_read(tmp_path):
    # The file's own first record, then one that claims a gigabyte and has it (sparse).
    whole = write_strings(tmp_path / 'large', count=3)
    (file,) = whole.glob('*.mcap')
    head = file.read_bytes()[:200]
    start = head.index(b'\x01', 8)
    length = 9 + int.from_bytes(head[start + 1 : start + 9], 'little')
    with file.open('wb') as opened:
        opened.write(head[: start + length])
        opened.write(b'\x05' + (2**30).to_bytes(8, 'little'))
        opened.truncate(2**30 + 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    with pytest.raises(ObservationError, match='1024 MB; the limit is 256 MB'):
        open_bag(whole)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert time.monotonic() - begun < 10


def chunk_starts(file):
    with file.open('rb') as opened:
        return [i.chunk_start_offset for i in make_reader(opened).get_summary().chunk_indexes]


@pytest.mark.parametrize('place', [1, 3000])  # the length of the chunk's record; its content
def test_damage_in_a_chunk_costs_no_other_chunk(tmp_path, place):
    folder = write_strings(tmp_path / 'bag', count=200, size=9000)
    (file,) = folder.glob('*.mcap')
    starts = chunk_starts(file)
    assert len(starts) >= 4
    data = bytearray(file.read_bytes())
    data[starts[1] + place : starts[1] + place + 8] = (2**60).to_bytes(8, 'little')
    file.write_bytes(data)
    bag = open_bag(folder)
    numbers = [int(word.split()[1]) for word in words(bag)]
    lost = sorted(set(range(200)) - set(numbers))
    assert numbers == sorted(numbers)
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert 40 < len(lost) < 70
    assert 'damaged' in bag.gaps[0]


def test_messages_that_are_a_little_out_of_order_come_in_order(tmp_path):
    folder = tmp_path / 'bag'
    times = [0, 30, 10, 20, 50, 40]
    with BagWriter(folder, {'/words': Channel(kind=STRING)}, Bounds()) as writer:
        for time_ms in times:
            writer.write('/words', 1_000_000_000 + time_ms * 1_000_000, string(f'word {time_ms}'))
    assert words(open_bag(folder)) == [f'word {time_ms}' for time_ms in sorted(times)]


def test_types_of_installed_packages_are_recorded_with_their_definitions(tmp_path, monkeypatch):
    folder = tmp_path / 'share' / 'lab_msgs' / 'msg'
    folder.mkdir(parents=True)
    (folder / 'Tool.msg').write_text('std_msgs/Header header\nJaw[2] jaws\n')
    (folder / 'Jaw.msg').write_text('float32 force\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    text = definition('lab_msgs/msg/Tool')
    assert 'MSG: lab_msgs/Jaw' in text
    with pytest.raises(ConfigError, match='no definition'):
        definition('lab_msgs/msg/Unknown')


@pytest.mark.parametrize('seed', range(40))
def test_flipped_bytes_never_end_in_a_stack_trace(tmp_path, seed):
    folder = write_strings(tmp_path / 'bag', count=20)
    (file,) = folder.glob('*.mcap')
    random = np.random.default_rng(seed)
    data = bytearray(file.read_bytes())
    for place in random.integers(8, len(data), 5):
        data[place] ^= int(random.integers(1, 256))
    file.write_bytes(data)
    try:
        bag = open_bag(folder)
    except ObservationError:
        return
    assert len(list(bag.messages())) <= 21


def test_a_file_of_nothing_but_the_magic_is_an_empty_bag(tmp_path):
    """Found by `make fuzz`: the reader of the index seeks before the beginning."""
    path = tmp_path / 'cut.mcap'
    path.write_bytes(b'\x89MCAP0\r\n')
    with pytest.raises(ObservationError, match='no message'):
        open_bag(path)
