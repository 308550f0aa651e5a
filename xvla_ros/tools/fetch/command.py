# SPDX-License-Identifier: Apache-2.0
"""
Download a published checkpoint from the Hugging Face hub, or from the hub in HF_ENDPOINT.

No other command downloads anything. Run the command again to continue an interrupted download.
xvla fetch --list prints the known names with their rows, modes and files.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
import json
from pathlib import Path

from xvla_ros.core.checkpoints import is_hub_name
from xvla_ros.core.errors import CheckpointError, ConfigError, one_line
from xvla_ros.core.published import Published, published_checkpoints

# Files of a checkpoint, an adapter or a tokenizer. No code, no pickled weights.
FILES = ['*.json', '*.safetensors', 'merges.txt', '*.md']
TOKENIZER, WORDS = 'tokenizer.json', ('tokenizer.json', 'vocab.json')


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('name', nargs='?', help='owner/model on the hub')
    parser.add_argument('--out', type=Path, help='directory to write')
    parser.add_argument('--revision', help='branch, tag or commit (default: main)')
    parser.add_argument('--list', action='store_true', help='print the known names and end')


def run(args: Namespace) -> int:
    """Download, and print how to use the checkpoint."""
    table = published_checkpoints()
    if args.list:
        print('\n'.join(listing(table)))
        return 0
    if args.name is None or args.out is None:
        raise ConfigError('xvla fetch needs NAME and --out DIR (or --list)')
    folder = fetch(args.name, args.out, args.revision)
    print(f'{args.name}: in {folder}')
    print('\n'.join(advice(folder, table.get(args.name))))
    return 0


def fetch(name: str, out: Path, revision: str | None = None, endpoint: str | None = None) -> Path:
    """
    Download a checkpoint's files, and its tokenizer if it only names one.

    :param endpoint: hub to use instead of huggingface_hub's (HF_ENDPOINT).
    :raises CheckpointError: there is no such model, or the hub cannot be reached.
    """
    if not is_hub_name(name):
        raise ConfigError(f'{name}: is no name on the hub, expected owner/model')
    from huggingface_hub import errors

    from xvla_ros.tools.fetch.hub import bring, listed

    try:
        commit, files = listed(name, FILES, revision, endpoint)
        for file in files:
            came = bring(name, file, commit, out, endpoint)
            print(f'{file}: {"here" if came else "was here"}', flush=True)
        tokenizer = named_tokenizer(out)
        if tokenizer is not None:
            bring(tokenizer, TOKENIZER, 'main', out, endpoint)
            print(f'{TOKENIZER}: here, of {tokenizer}, which config.json names', flush=True)
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f'{name}: the hub has no such model, or does not show it without a token '
            '(HF_TOKEN); `xvla fetch --list` prints the published ones'
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # the classes of its transport differ between its versions
        raise CheckpointError(
            f'{name}: not fetched: {one_line(error)}; what has come is kept in {out}, give the '
            'command again to go on'
        ) from error
    return out


def named_tokenizer(folder: Path) -> str | None:
    """Return the model whose tokenizer a LeRobot checkpoint names instead of including one."""
    config = folder / 'config.json'
    if not config.is_file() or any((folder / name).is_file() for name in WORDS):
        return None
    try:
        named = json.loads(config.read_text(encoding='utf-8')).get('tokenizer_name')
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f'{config}: cannot be read as a JSON object: {error}') from error
    return named if isinstance(named, str) and is_hub_name(named) else None


def listing(table: dict[str, Published]) -> Iterator[str]:
    """Yield the table as lines."""
    width = max(map(len, table))
    yield f'{"name":{width}}  row  action mode  embodiment file'
    for name, facts in table.items():
        file = f'config/{facts.embodiment}.yaml'
        note = f'  ({facts.note})' if facts.note else ''
        yield f'{name:{width}}  {facts.row:3d}  {facts.action_mode:11s}  {file}{note}'


def advice(folder: Path, facts: Published | None) -> Iterator[str]:
    """Yield the settings for this checkpoint."""
    yield f'xvla inspect {folder}'
    if facts is None:
        yield 'not in the table of published checkpoints: ask its authors for the domain row'
        return
    yield (
        f'policy.checkpoint: {folder.absolute()}, policy.domain_id: {facts.row}, '
        f'policy.action_mode: {facts.action_mode}; settings: config/{facts.embodiment}.yaml'
    )
    if facts.first_anchor_index is not None:
        yield (
            f'policy.first_anchor_index: {facts.first_anchor_index}, because the authors trained '
            'it, whatever its format says'
        )
    if facts.note:
        yield facts.note
