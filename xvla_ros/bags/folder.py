# SPDX-License-Identifier: Apache-2.0
"""Selects the files of one bag in a folder, by metadata.yaml or else by their names."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
import re
from typing import Any

import yaml

from xvla_ros.core.errors import ObservationError

ENDINGS = ('.mcap', '.db3')
METADATA = 'metadata.yaml'


@dataclass(frozen=True, kw_only=True)
class Selection:
    """
    The storage files of one bag, in order.

    gaps: one sentence for each missing file. notes: one for each file that was left out, with the
    reason. listed: metadata.yaml lists these files as one bag.
    """

    files: tuple[Path, ...]
    gaps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    listed: bool = False
    offered: dict[str, str] = field(default_factory=dict)


def select_files(path: Path) -> Selection:
    """
    Return the files of a bag: a rosbag2 folder, or one of its files.

    :raises ObservationError: there is no bag; the message says what was found.
    """
    if not path.exists():
        raise ObservationError(f'{path}: no such bag')
    if path.suffix == '.bag':
        raise ObservationError(f'{path}: a ROS 1 bag; rosbags-convert makes a rosbag2 of it')
    if path.is_file():
        if not is_storage(path):
            raise ObservationError(f'{path}: not a bag: expected a file ending in {_known()}')
        return Selection(files=(path,))
    present = sorted(filter(is_storage, path.iterdir()), key=natural)
    selection = _listed(path, present) or _named(present)
    if not selection.files:
        lacks = f' ({"; ".join(selection.gaps)})' if selection.gaps else ''
        raise ObservationError(f'{path}: not a bag: no file ending in {_known()}{lacks}')
    return selection


def _known() -> str:
    return f'{", ".join(ENDINGS)} (or with .zstd)'


def is_storage(path: Path) -> bool:
    """Tell whether a file's name is that of a bag's storage."""
    return path.is_file() and plain_name(path.name).endswith(ENDINGS)


def plain_name(name: str) -> str:
    """Return the name of a storage file without the ending of its compression."""
    return name.removesuffix('.zstd')


def natural(path: Path) -> list[tuple[int, str]]:
    """Return the key that sorts files by the numbers in their names."""
    return [(int(part or 0), text) for text, part in re.findall(r'(\D*)(\d*)', path.name)]


def _listed(folder: Path, present: Iterable[Path]) -> Selection | None:
    """Return the files in metadata.yaml; None if it is missing or unreadable."""
    information = _information(folder / METADATA)
    names = information.get('relative_file_paths')
    if not isinstance(names, list) or not names:
        return None
    present = list(present)
    found, gaps, offered = [], [], {}
    for name in map(str, names):
        file = _as_listed(folder, name)
        if file is None:
            gaps.append(f'{name}: is missing; {METADATA} lists it')
        elif file not in found:
            found.append(file)
    for topic in information.get('topics_with_message_count') or ():
        about = topic.get('topic_metadata', {}) if isinstance(topic, dict) else {}
        if isinstance(about, dict) and 'offered_qos_profiles' in about:
            offered[str(about.get('name'))] = _text(about['offered_qos_profiles'])
    notes = [f'{file.name}: left out: {METADATA} does not list it' for file in present]
    kept = [note for note, file in zip(notes, present, strict=True) if file not in found]
    return Selection(
        files=tuple(found), gaps=tuple(gaps), notes=tuple(kept), listed=True, offered=offered
    )


def _text(profiles: Any) -> str:
    """Return QoS profiles as YAML text: rosbag2 writes a string (to Iron) or a list (Jazzy)."""
    return profiles if isinstance(profiles, str) else str(yaml.safe_dump(profiles))


def _as_listed(folder: Path, name: str) -> Path | None:
    """Return a listed file, which may have been compressed or decompressed since."""
    plain = plain_name(Path(name).name)
    for candidate in (name, plain, f'{plain}.zstd'):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def _information(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    found = document.get('rosbag2_bagfile_information') if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def _named(present: Iterable[Path]) -> Selection:
    """Return all files of a folder without metadata, each once; report gaps in the numbers."""
    files: dict[str, Path] = {}
    notes = []
    for file in present:
        other = files.get(plain_name(file.name))
        if other is None:
            files[plain_name(file.name)] = file
        else:  # sorted: the uncompressed one came first
            notes.append(f'{file.name}: left out: {other.name} holds the same')
    return Selection(
        files=tuple(files.values()), gaps=tuple(_holes(files.values())), notes=tuple(notes)
    )


def stem(file: Path) -> str:
    """Return the common name of the files of one split recording."""
    return re.sub(r'_\d+$', '', Path(plain_name(file.name)).stem)


def _holes(files: Iterable[Path]) -> Iterable[str]:
    numbers: dict[str, list[int]] = {}
    for file in files:
        number = re.search(r'_(\d+)$', Path(plain_name(file.name)).stem)
        if number:
            numbers.setdefault(stem(file), []).append(int(number[1]))
    for name, found in numbers.items():
        for missing in sorted(set(range(min(found), max(found))) - set(found)):
            yield f'{name}_{missing}: is missing: its neighbours are there'
