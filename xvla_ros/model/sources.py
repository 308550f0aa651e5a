# SPDX-License-Identifier: Apache-2.0
"""
Finds the folders with the parts of a checkpoint.

Usually this is one folder. A folder with a LoRA adapter instead of weights (`lerobot-train` with
PEFT) names its base, the checkpoint on which it was trained.
"""

from dataclasses import dataclass
from pathlib import Path

from xvla_ros.core.checkpoints import ADAPTER_CONFIG, checkpoint_folder, CONFIG
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.reading import has_weights, read_json
from xvla_ros.model.tokenizer import has_tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """
    The folders of a checkpoint.

    given: the folder that the user named. settings: `config.json`, and the processors of images
    and numbers. words: the tokenizer. weights: the tensors. adapter: a LoRA adapter to merge.
    """

    given: Path
    settings: Path
    words: Path
    weights: Path
    adapter: Path | None


def find_sources(path: str | Path, adapter: str | Path | None = None) -> Sources:
    """
    Find the parts of a checkpoint, or of an adapter and its base.

    As in LeRobot, an adapter's own settings are used if it has any, because it may be trained for
    other cameras and statistics than its base.

    :param adapter: a LoRA adapter to merge into a whole checkpoint.
    :raises CheckpointError: a folder is missing, an adapter names no base, or the base is missing
        or itself an adapter.
    """
    given = checkpoint_folder(path)
    if not is_adapter(given):
        merged = None if adapter is None else adapter_folder(adapter)
        return Sources(given=given, settings=given, words=given, weights=given, adapter=merged)
    if adapter is not None:
        raise CheckpointError(
            f'{given}: is a LoRA adapter, and {adapter} is to be merged, too; expected one adapter'
        )
    base = base_folder(given)
    settings = given if (given / CONFIG).is_file() else base
    words = given if has_tokenizer(given) else base
    return Sources(given=given, settings=settings, words=words, weights=base, adapter=given)


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter and no weights."""
    return (folder / ADAPTER_CONFIG).is_file() and not has_weights(folder)


def base_folder(folder: Path) -> Path:
    """Return the folder of an adapter's base."""
    name = read_json(folder / ADAPTER_CONFIG).get('base_model_name_or_path')
    advice = (
        f'give {name or "its base"} as the checkpoint and this directory as the adapter '
        '(--adapter, policy.adapter)'
    )
    if not isinstance(name, str) or not name:
        raise CheckpointError(
            f'{folder}: is a LoRA adapter and does not name its base '
            f'(base_model_name_or_path is {name!r}); {advice}'
        )
    try:
        base = checkpoint_folder(name)
    except CheckpointError as error:
        raise CheckpointError(
            f'{folder}: is a LoRA adapter, and its base is not here ({error}); where it is '
            f'elsewhere, {advice}'
        ) from None
    if is_adapter(base):
        raise CheckpointError(
            f'{folder}: is a LoRA adapter, and its base {base} is another one; expected a whole '
            'checkpoint: merge the base first (xvla convert)'
        )
    return base


def adapter_folder(path: str | Path) -> Path:
    """Return the folder of an adapter, which may lie inside another."""
    folder = checkpoint_folder(path)
    if not (folder / ADAPTER_CONFIG).is_file():
        raise CheckpointError(
            f'{folder}: has no {ADAPTER_CONFIG}, so it is no LoRA adapter; a whole checkpoint is '
            'given as the checkpoint itself'
        )
    return folder
