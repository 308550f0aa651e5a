# SPDX-License-Identifier: Apache-2.0
"""`xvla fetch` against a local stand-in of the hub."""

import hashlib
import os
import subprocess
import sys

from fake_hub import FakeHub
from huggingface_hub import constants
import numpy as np
import pytest

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import CheckpointError, ConfigError
from xvla_ros.core.parameter_file import read_parameter_file
from xvla_ros.core.published import published_checkpoints
from xvla_ros.core.resources import shared_file
from xvla_ros.model import load_policy
from xvla_ros.model.action_modes import MODES
from xvla_ros.model.conversion import convert
from xvla_ros.testing.miniature import noise, observation, write_small
from xvla_ros.tools.fetch.command import fetch

NAME, BART = 'lerobot/xvla-widowx', 'facebook/bart-large'


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """Return the files of a checkpoint as LeRobot publishes it, and those of the tokenizer."""
    folder = tmp_path_factory.mktemp('published')
    convert(write_small(folder / 'small'), folder / 'lerobot', 'lerobot')
    files = {file.name: file.read_bytes() for file in (folder / 'lerobot').iterdir()}
    words = {'tokenizer.json': files.pop('tokenizer.json')}
    return folder / 'lerobot', files | {'modeling.py': b'raise'}, words


@pytest.fixture
def hub(published):
    _, files, words = published
    with FakeHub({NAME: files, BART: words}).running() as hub:
        yield hub


def chunk(folder):
    policy = load_policy(folder)
    return policy.predict(**observation(), noise=noise(policy))


def test_a_checkpoint_comes_whole_with_the_tokenizer_that_it_names(hub, published, tmp_path):
    folder = fetch(NAME, tmp_path / 'to', endpoint=hub.url)
    np.testing.assert_array_equal(chunk(folder), chunk(published[0]))
    assert not (folder / 'modeling.py').exists()
    asked = len(hub.requests)
    fetch(NAME, tmp_path / 'to', endpoint=hub.url)
    assert not [r for r in hub.requests[asked:] if r[0] == 'GET' and '/resolve/' in r[1]]


def test_an_interrupted_download_goes_on_where_it_stopped(hub, published, tmp_path, monkeypatch):
    # It keeps whole parts of 10 MB, which these weights have not.
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 1000)
    file = 'model.safetensors'
    size = len(published[1][file])
    hub.cut[file] = 50_000
    with pytest.raises(CheckpointError, match=r'not fetched: .*give the command again'):
        fetch(NAME, tmp_path / 'to', endpoint=hub.url)
    assert not (tmp_path / 'to' / file).exists()
    hub.cut.clear()
    assert hub.sent[file] == 50_000
    folder = fetch(NAME, tmp_path / 'to', endpoint=hub.url)
    assert size <= hub.sent[file] <= size + 1000  # the last part may have come for nothing
    np.testing.assert_array_equal(chunk(folder), chunk(published[0]))


def test_the_command_asks_the_hub_that_the_environment_names(hub, tmp_path):
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'fetch', NAME, '--out', 'to']
    environment = os.environ | {'HF_ENDPOINT': hub.url}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for words in ('policy.domain_id: 0', 'reference/bridge_widowx', 'first_anchor_index: 1'):
        assert words in done.stdout
    assert (tmp_path / 'to' / 'tokenizer.json').is_file()


def test_a_name_that_is_nowhere_is_refused(hub, tmp_path):
    with pytest.raises(CheckpointError, match='the hub has no such model'):
        fetch('lab/none', tmp_path, endpoint=hub.url)
    with pytest.raises(ConfigError, match='expected owner/model'):
        fetch('xvla-base', tmp_path, endpoint=hub.url)


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match='lerobot/xvla-widowx: not fetched'):
        fetch(NAME, tmp_path, endpoint='http://127.0.0.1:9')


def test_bytes_that_the_hub_does_not_have_are_thrown_away(hub, tmp_path):
    folder = fetch(NAME, tmp_path / 'to', endpoint=hub.url)
    file = folder / 'model.safetensors'
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b'?')
    fetch(NAME, folder, endpoint=hub.url)
    assert file.read_bytes() == content
    file.unlink()
    tag = hashlib.sha256(content).hexdigest()
    file.with_name(f'{file.name}.{tag[:12]}.partial').write_bytes(b'?' * 1000)
    with pytest.raises(CheckpointError, match=r'model\.safetensors came with other bytes'):
        fetch(NAME, folder, endpoint=hub.url)
    fetch(NAME, folder, endpoint=hub.url)
    assert file.read_bytes() == content


@pytest.mark.parametrize('name', published_checkpoints())
def test_the_table_names_modes_and_files_that_there_are(name):
    facts = published_checkpoints()[name]
    assert facts.action_mode in MODES
    file = shared_file('config', f'{facts.embodiment}.yaml')
    settings = read_parameter_file(file)['policy']
    assert settings['domain_id'] == facts.row
    assert settings.get('action_mode', 'ee6d') == facts.action_mode
    if not facts.embodiment.startswith('reference/'):
        load_embodiment(file)


def test_the_page_shows_the_table():
    docs = shared_file('config', 'franka.yaml').parents[1] / 'docs'
    page = (docs / 'checkpoints.md').read_text()
    for name, facts in published_checkpoints().items():
        assert f'| `{name}` | {facts.row} | `{facts.action_mode}` |' in page
