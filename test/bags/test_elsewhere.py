# SPDX-License-Identifier: Apache-2.0
"""Our recordings in the readers of others: indexed MCAP readers and rosbags."""

import json
import os
from pathlib import Path
import shutil
import subprocess

from bags import STRING, string
from mcap.reader import SeekingReader
import pytest
from rosbags.rosbag2 import Reader
import yaml

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.writer import BagWriter, Bounds, Channel

# A folder with node_modules/@mcap/core, as `npm install @mcap/core` makes it.
MCAP_CORE = 'XVLA_MCAP_CORE'
INDEXED_READER = """
const { McapIndexedReader } = require('@mcap/core');
const { open } = require('node:fs/promises');
(async () => {
  const rows = [];
  for (const path of process.argv.slice(2)) {
    const file = await open(path);
    const readable = {
      size: async () => BigInt((await file.stat()).size),
      read: async (offset, length) => {
        const data = new Uint8Array(Number(length));
        await file.read(data, 0, data.length, Number(offset));
        return data;
      },
    };
    const reader = await McapIndexedReader.Initialize({ readable });
    if (!reader.chunkIndexes.length) throw new Error('no index');
    for await (const m of reader.readMessages())
      rows.push([reader.channelsById.get(m.channelId).topic, m.logTime.toString(), m.data.length]);
  }
  console.log(JSON.stringify(rows));
})();
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a bag of two files, with messages out of order and a topic that came late."""
    folder = tmp_path_factory.mktemp('ours') / 'bag'
    channels = {
        '/task': Channel(kind=STRING, latched=True),
        '/words': Channel(kind=STRING, sensor=True),
    }
    with BagWriter(folder, channels, Bounds(split_s=6.0)) as writer:
        writer.write('/task', 10**9, string('the task'))
        for number in range(1000):
            late_ns = 30_000_000 if number % 7 == 3 else 0
            text = f'word {number} ' + 'x' * (number % 5) * 700
            writer.write('/words', 10**9 + number * 10_000_000 - late_ns, string(text))
            if number == 500:
                writer.add('/late', Channel(kind=STRING))
            if number > 500:
                writer.write('/late', 10**9 + number * 10_000_000, string('late'))
    assert len(list(folder.glob('*.mcap'))) == 2
    return folder


@pytest.fixture(scope='module')
def rows(folder):
    """Return topic, time and size of every message, as our own reader yields them."""
    return [(raw.topic, raw.time_ns, len(raw.data)) for raw in open_bag(folder).messages()]


def files(folder):
    return sorted(folder.glob('*.mcap'))


def repeated(found):
    """Leave out the latched message that the second file repeats."""
    seen = [row for row in found if row[0] == '/task']
    assert len(seen) == 2
    return [row for row in found if row != seen[1]]


def test_the_indexed_reader_of_mcap_yields_every_message_in_order(folder, rows):
    found = []
    for path in files(folder):
        with path.open('rb') as file:
            reader = SeekingReader(file, validate_crcs=True)
            summary = reader.get_summary()
            assert summary.statistics.message_count > 300
            assert summary.chunk_indexes
            assert all(index.compressed_size <= 2**20 for index in summary.chunk_indexes)
            found += [(c.topic, m.log_time, len(m.data)) for _, c, m in reader.iter_messages()]
    assert [row[1] for row in found] == sorted(row[1] for row in found)
    assert sorted(repeated(found)) == sorted(rows)


def test_rosbags_yields_every_message(folder, rows):
    with Reader(folder) as reader:
        found = [(c.topic, time_ns, len(data)) for c, time_ns, data in reader.messages()]
        assert reader.message_count == len(found)
        latched = [c.ext.offered_qos_profiles[0].durability for c in reader.connections
                   if c.topic == '/task']  # fmt: skip
    assert sorted(repeated(found)) == sorted(rows)
    assert latched[0].name == 'TRANSIENT_LOCAL'


def test_metadata_says_what_is_in_the_files(folder, rows):
    text = (folder / 'metadata.yaml').read_text()
    information = yaml.safe_load(text)['rosbag2_bagfile_information']
    topics = {t['topic_metadata']['name']: t for t in information['topics_with_message_count']}
    assert set(topics) == {'/task', '/words', '/late'}
    assert topics['/words']['message_count'] == sum(row[0] == '/words' for row in rows)
    profile = topics['/words']['topic_metadata']['offered_qos_profiles'][0]
    assert (profile['reliability'], profile['durability']) == ('best_effort', 'volatile')


def mcap_core():
    """Return the folder whose node_modules hold @mcap/core, None without one."""
    for folder in filter(None, (os.environ.get(MCAP_CORE), '.')):
        if (Path(folder) / 'node_modules' / '@mcap' / 'core').is_dir():
            return Path(folder).resolve()
    return None


@pytest.mark.skipif(
    not (shutil.which('node') and mcap_core()),
    reason=f'needs node and @mcap/core: npm install @mcap/core, its folder in {MCAP_CORE}',
)
def test_the_indexed_reader_of_foxglove_yields_every_message_in_order(folder, rows, tmp_path):
    script = tmp_path / 'read.cjs'
    script.write_text(INDEXED_READER)
    environment = dict(os.environ, NODE_PATH=str(mcap_core() / 'node_modules'))
    command = ['node', str(script), *map(str, files(folder))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert not done.stderr
    found = [(topic, int(time), size) for topic, time, size in json.loads(done.stdout)]
    assert [row[1] for row in found] == sorted(row[1] for row in found)
    assert sorted(repeated(found)) == sorted(rows)
