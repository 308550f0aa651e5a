# SPDX-License-Identifier: Apache-2.0
"""The first message of a recording, with its robot, checkpoint and instruction."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
import json
from pathlib import Path

import yaml

from xvla_ros import __version__
from xvla_ros.bags.fingerprint import fingerprint
from xvla_ros.bags.message_types import read_message, typestore, write_message
from xvla_ros.core.embodiment import Embodiment, embodiment_from_parameters
from xvla_ros.core.parameter_file import parse_parameters

RECORDING_TOPIC = '/xvla/recording'
STRING = 'std_msgs/msg/String'


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """
    The description of a run that a replay needs.

    embodiment: the text of its parameter file. checkpoint: its path. fingerprint: the
    checkpoint's, empty for a server. instruction: the one given to the recorder, empty for none.
    adapter_fingerprint: that of the merged LoRA adapter, empty for none.
    """

    embodiment: str
    checkpoint: str = ''
    fingerprint: str = ''
    instruction: str = ''
    adapter_fingerprint: str = ''
    version: str = __version__

    def load_embodiment(self, source: str, overrides: dict[str, object]) -> Embodiment:
        """
        Return the recorded embodiment.

        :raises ConfigError: this version of the package cannot read it.
        """
        where = f'embodiment in {source}'
        parameters = parse_parameters(self.embodiment, where)
        return embodiment_from_parameters({**parameters, **overrides}, where)


def describe_recording(
    embodiment_file: Path,
    checkpoint: Path | None,
    instruction: str,
    adapter: Path | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Recording:
    """
    Return the description of a recording; hashes checkpoint and adapter completely.

    :param overrides: dotted parameters that replace the file's.
    """
    text = embodiment_file.read_text(encoding='utf-8')
    if overrides:
        parameters = {**parse_parameters(text, str(embodiment_file)), **overrides}
        text = yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False)
    return Recording(
        embodiment=text,
        checkpoint=str(checkpoint or ''),
        fingerprint=fingerprint(checkpoint) if checkpoint else '',
        instruction=instruction,
        adapter_fingerprint=fingerprint(adapter) if adapter else '',
    )


def recording_message(recording: Recording) -> bytes:
    """Return a description as the CDR bytes of a message (std_msgs/String, JSON)."""
    message = typestore().types[STRING](data=json.dumps(asdict(recording)))
    return write_message(STRING, message)


def read_recording(data: bytes) -> Recording | None:
    """Return the content of such a message without unknown fields; None if it is another."""
    try:
        values = json.loads(read_message(STRING, data).data)
        known = {f.name: values[f.name] for f in fields(Recording) if f.name in values}
        return Recording(**known)
    except Exception:  # another message on a topic of this name
        return None
