# SPDX-License-Identifier: Apache-2.0
"""Bags broken in every way: each command ends with a result or one line, never a stack trace."""

import shutil
import sqlite3

from bags import copy_bag, ROOT, STRING, string
from counts import FULL
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

pytest.importorskip('rclpy', reason='messages are read as the classes of ROS')

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.message_types import typestore
from xvla_ros.tools.cli import main

COUNT = 300 if FULL else 30
# Images of a report take seconds, so only some of the broken bags are drawn.
REPORT_EVERY = 10


@pytest.fixture(scope='module')
def short(simulated, tmp_path_factory):
    """Return a second of the simulated bag, as MCAP and as SQLite."""
    folder = tmp_path_factory.mktemp('short')
    first = open_bag(simulated).start_ns
    keep = copy_bag(simulated, folder / 'mcap', keep=lambda raw: raw.time_ns < first + 10**9)
    bag = open_bag(keep)
    with Writer(folder / 'sqlite', version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topics = {
            name: writer.add_connection(name, topic.kind, typestore=typestore())
            for name, topic in bag.topics.items()
        }
        for raw in bag.messages():
            writer.write(topics[raw.topic], raw.time_ns, raw.data)
    return folder


def flip(path, random):
    data = bytearray(path.read_bytes())
    for place in random.integers(0, len(data), random.integers(1, 40)):
        data[place] ^= int(random.integers(1, 256))
    path.write_bytes(data)


def cut_out(path, random):
    data = path.read_bytes()
    begin, end = sorted(random.integers(0, len(data), 2))
    path.write_bytes(data[:begin] + data[end:])


def truncate(path, random):
    data = path.read_bytes()
    path.write_bytes(data[: random.integers(0, len(data))])


def overwrite(path, random):
    data = bytearray(path.read_bytes())
    size = int(random.integers(1, len(data) // 3))
    begin = int(random.integers(0, len(data) - size))
    data[begin : begin + size] = random.bytes(size) if random.random() < 0.5 else bytes(size)
    path.write_bytes(data)


def swap(path, random):
    data = path.read_bytes()
    a, b = sorted(random.integers(0, len(data), 2))
    path.write_bytes(data[b:] + data[a:b] + data[:a] if random.random() < 0.3
                     else data[:a] + data[b:] + data[a:b])  # fmt: skip


FILES = (flip, flip, cut_out, truncate, overwrite, swap)


def junk(random, raw):
    """Return other bytes in place of a message."""
    ways = (
        lambda: b'',
        lambda: raw.data[: random.integers(0, len(raw.data) + 1)],
        lambda: raw.data[:4] + random.bytes(max(len(raw.data) - 4, 0)),
        lambda: b'\x28\xb5\x2f\xfd' + random.bytes(20),
        lambda: string('what is this') if raw.kind != STRING else random.bytes(40),
        lambda: raw.data[:20] + b'\xff' * 8 + raw.data[28:],
    )
    return ways[random.integers(len(ways))]()


def break_messages(source, folder, random):
    """Copy a bag with some messages broken, lost or at other times."""
    share, kind = random.choice([0.02, 0.3, 1.0]), random.integers(3)
    victims = set(random.permutation(sorted(open_bag(source).topics))[: random.integers(1, 4)])

    def hit(raw):
        return raw.topic in victims and random.random() < share

    if kind == 0:
        return copy_bag(source, folder, keep=lambda raw: not hit(raw))
    return copy_bag(source, folder, change=lambda raw: junk(random, raw) if hit(raw) else raw.data)


def break_database(path, random):
    column, value = [
        ('data', 'text'), ('data', b''), ('timestamp', -5), ('timestamp', 2**62),
        ('topic_id', 99), ('timestamp', 'noon'),
    ][random.integers(6)]  # fmt: skip
    with sqlite3.connect(path) as database:
        where = f'id % {random.integers(2, 50)} = 0'
        database.execute(f'UPDATE messages SET {column} = ? WHERE {where}', (value,))
    database.close()


def mutated(short, folder, number):
    """Return a broken copy of the bag, the same for the same number."""
    random = np.random.default_rng(number)
    kind = number % 5
    if kind == 0:
        return break_messages(short / 'mcap', folder, random)
    source = short / ('sqlite' if kind in (1, 2) else 'mcap')
    shutil.copytree(source, folder)
    (file,) = [*folder.glob('*.mcap'), *folder.glob('*.db3')]
    if kind == 1:
        break_database(file, random)
    elif kind == 4 and random.random() < 0.3:
        FILES[random.integers(len(FILES))](folder / 'metadata.yaml', random)
    else:
        FILES[random.integers(len(FILES))](file, random)
    return folder


@pytest.mark.parametrize('number', range(COUNT))
def test_a_broken_bag_ends_in_a_result_or_one_line(short, tmp_path, capsys, number):
    bag = mutated(short, tmp_path / 'bag', number)
    robot = ('--embodiment', str(ROOT / 'config' / 'franka_sim.yaml'))
    cameras = [
        f'--set=cameras.{n}.topic=camera/{n}/image_raw/compressed' for n in ('main', 'wrist')
    ]
    cameras += [f'--set=cameras.{n}.compressed=true' for n in ('main', 'wrist')]
    out = str(tmp_path / 'out')
    commands = [
        (['replay', str(bag), '--deterministic', '--out', out, '--no-model'], {0, 2}),
        (['doctor', str(bag), '--suggest', *robot, *cameras], {0, 1, 2}),
    ]
    if number % REPORT_EVERY == 0:
        commands.append((['report', str(bag), '--out', f'{out}.html', *robot, *cameras], {0, 2}))
    for command, codes in commands:
        code = main(command)
        error = capsys.readouterr().err
        assert code in codes, command
        assert 'Traceback' not in error
        assert 'XVLA_TRACEBACK' not in error  # how the command line names what nobody foresaw
        if code == 2:
            assert len(error.strip().splitlines()) == 1, error
