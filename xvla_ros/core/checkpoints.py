# SPDX-License-Identifier: Apache-2.0
"""Finds the folder of a checkpoint from a path or name. Nothing is downloaded."""

from collections.abc import Iterator
import os
from pathlib import Path
import re

from xvla_ros.core.errors import CheckpointError
from xvla_ros.core.resources import shared_places

CONFIG = 'config.json'
ADAPTER_CONFIG = 'adapter_config.json'
# Where lerobot-train puts a checkpoint, seen from a saved step, from `checkpoints` and from its
# output folder.
INSIDE = ('pretrained_model', 'last/pretrained_model', 'checkpoints/last/pretrained_model')
HUB_NAME = re.compile(r'[\w.-]+/[\w.-]+')
# How many names of a folder's content a message shows at most.
SHOWN = 8


def checkpoint_folder(path: str | Path, working_folder: bool = True) -> Path:
    """
    Find a checkpoint, or a LoRA adapter.

    A path may begin with `~` and may be a folder that lerobot-train or the Hugging Face cache
    wrote around the checkpoint. A name may be that of a checkpoint that comes with the package, or
    of one that the Hugging Face cache holds.

    :param working_folder: look for a relative path below the working folder, too.
    :raises CheckpointError: there is none; the message says where it was looked for, and what to
        give instead.
    """
    try:
        return inner_folder(named_place(str(path), working_folder))
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ of a user that does not exist
        raise CheckpointError(f'{path}: cannot be read: {error}') from None


def checkpoint_overrides(checkpoint: str | None) -> dict[str, object]:
    """Return the parameters that replace the checkpoint and drop the adapter."""
    return {'policy.checkpoint': checkpoint, 'policy.adapter': ''} if checkpoint else {}


def named_place(name: str, working_folder: bool) -> Path:
    """Return the file or folder that a path or name stands for."""
    if not name.strip():
        raise CheckpointError('the checkpoint is an empty name, expected a directory')
    path = Path(name).expanduser()
    places = [path] if path.is_absolute() or working_folder else []
    places += [] if path.is_absolute() else shared_places('resource', path)
    places += [hub_cache() / f'models--{name.replace("/", "--")}'] if is_hub_name(name) else []
    for place in places:
        if place.exists():
            return place
    hint = ''
    if is_hub_name(name):
        hint = (
            '. Nothing is downloaded here: if it is a model of the Hugging Face hub, run '
            f'`xvla fetch {name} --out DIR` and give DIR'
        )
    looked = ', '.join(str(place) for place in dict.fromkeys(p.absolute() for p in places))
    raise CheckpointError(f'{name}: no such checkpoint; looked for {looked}{hint}')


def is_hub_name(name: str) -> bool:
    """Say whether a text has the form of a model's name on the hub, `owner/model`."""
    return HUB_NAME.fullmatch(name) is not None and not name.startswith('.')


def hub_cache() -> Path:
    """Return the folder that huggingface_hub downloads to."""
    home = os.environ.get('HF_HOME') or str(Path.home() / '.cache' / 'huggingface')
    return Path(os.environ.get('HF_HUB_CACHE') or Path(home) / 'hub')


def inner_folder(path: Path) -> Path:
    """Return the folder with a checkpoint's files: this folder, or one inside it."""
    if path.is_file():
        raise CheckpointError(f'{path}: is a file, expected the directory that holds it')
    for folder in (path, *(path / inside for inside in INSIDE), *revisions(path)):
        if is_checkpoint(folder):
            return folder
    raise CheckpointError(f'{path}: holds neither {CONFIG} nor {ADAPTER_CONFIG}; {advice(path)}')


def is_checkpoint(folder: Path) -> bool:
    """Say whether a folder looks like a checkpoint or an adapter."""
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG))


def revisions(path: Path) -> Iterator[Path]:
    """Yield the revision of a model in the hub's cache that `main` names, or its only one."""
    main = path / 'refs' / 'main'
    if main.is_file():
        yield path / 'snapshots' / main.read_text().strip()
    snapshots = path if path.name == 'snapshots' else path / 'snapshots'
    found = list(snapshots.iterdir()) if snapshots.is_dir() else []
    if len(found) == 1:
        yield found[0]


def advice(path: Path) -> str:
    """Suggest folders inside that are checkpoints, or else list the content."""
    deeper = ('*', '*/pretrained_model', 'snapshots/*', 'checkpoints/*/pretrained_model')
    found = sorted({f for pattern in deeper for f in path.glob(pattern) if is_checkpoint(f)})
    if found:
        return f'give one of {", ".join(str(f) for f in found[:SHOWN])}'
    names = sorted(f.name for f in path.iterdir())
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return f'it holds {", ".join(names[:SHOWN]) or "nothing"}{more}'
