# SPDX-License-Identifier: Apache-2.0
"""The first message of a recording: which robot, checkpoint and instruction it is of."""

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
    What must be known to replay a bag.

    embodiment: the text of its parameter file. checkpoint: where it was. fingerprint: what it was,
    empty when a server answered. instruction: the one given to the recorder, empty for none.
    adapter_fingerprint: the same of the LoRA adapter that was merged, empty for none.
    """

    embodiment: str
    checkpoint: str = ''
    fingerprint: str = ''
    instruction: str = ''
    adapter_fingerprint: str = ''
    version: str = __version__

    def load_embodiment(self, source: str, overrides: dict[str, object]) -> Embodiment:
        """
        Return the embodiment that was recorded.

        :raises ConfigError: this version of the package does not understand it.
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
    Return what is written into a recording; hashes all of checkpoint and adapter.

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
    """Return the CDR bytes of the message (std_msgs/String, JSON) that holds a recording."""
    message = typestore().types[STRING](data=json.dumps(asdict(recording)))
    return write_message(STRING, message)


def read_recording(data: bytes) -> Recording | None:
    """Return the content of such a message, without unknown fields; None when it is another."""
    try:
        values = json.loads(read_message(STRING, data).data)
        known = {f.name: values[f.name] for f in fields(Recording) if f.name in values}
        return Recording(**known)
    except Exception:  # another message on a topic of this name
        return None
