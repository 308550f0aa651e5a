# SPDX-License-Identifier: Apache-2.0
"""What a recording says of itself, as the bag's first message: robot, checkpoint, task."""

from dataclasses import asdict, dataclass, fields
import json
from pathlib import Path

import yaml

from xvla_ros import __version__
from xvla_ros.core.embodiment import Embodiment, embodiment_from_parameters
from xvla_ros.core.errors import ConfigError
from xvla_ros.replay.fingerprint import fingerprint
from xvla_ros.replay.message_types import read_message, typestore, write_message

RECORDING_TOPIC = '/xvla/recording'
STRING = 'std_msgs/msg/String'


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """
    What must be known to replay a bag.

    embodiment: the text of its parameter file. checkpoint: where it was. fingerprint: what it was,
    empty when a server answered. instruction: the one given to the recorder, empty for none.
    """

    embodiment: str
    checkpoint: str = ''
    fingerprint: str = ''
    instruction: str = ''
    version: str = __version__

    def load_embodiment(self, source: str, overrides: dict[str, object]) -> Embodiment:
        """
        Return the embodiment that was recorded.

        :raises ConfigError: this version of the package does not understand it.
        """
        try:
            parameters = yaml.safe_load(self.embodiment)['/**']['ros__parameters']
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise ConfigError(
                f'{source}: the embodiment in the bag cannot be read: {error}'
            ) from error
        return embodiment_from_parameters({**parameters, **overrides}, f'embodiment in {source}')


def describe_recording(
    embodiment_file: Path, checkpoint: Path | None, instruction: str
) -> Recording:
    """Return what a recorder says; reads the whole checkpoint for its fingerprint."""
    return Recording(
        embodiment=embodiment_file.read_text(encoding='utf-8'),
        checkpoint=str(checkpoint or ''),
        fingerprint=fingerprint(checkpoint) if checkpoint else '',
        instruction=instruction,
    )


def recording_message(recording: Recording) -> bytes:
    """Return the CDR bytes of the message (std_msgs/String, JSON) that holds a recording."""
    message = typestore().types[STRING](data=json.dumps(asdict(recording)))
    return write_message(STRING, message)


def read_recording(data: bytes) -> Recording | None:
    """Return what such a message holds, None when it is not one; unknown fields are left out."""
    try:
        values = json.loads(read_message(STRING, data).data)
        known = {f.name: values[f.name] for f in fields(Recording) if f.name in values}
        return Recording(**known)
    except Exception:  # whatever is on a topic of this name: then the bag does not tell
        return None
