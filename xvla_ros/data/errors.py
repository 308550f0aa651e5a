# SPDX-License-Identifier: Apache-2.0
"""What is wrong with recorded data, and where."""

from xvla_ros.core.errors import ConfigError


class DataError(ConfigError):
    """
    A recording that cannot be trained on.

    file: the one to look into. episode: its name. frame: the first that is wrong, None where it is
    about all of them. what: the trouble in a word.
    """

    kind = 'data'

    def __init__(
        self,
        text: str,
        *,
        file: object = '',
        episode: str = '',
        frame: int | None = None,
        what: str = 'damaged',
    ) -> None:
        """Say what is wrong, and where."""
        self.text, self.file, self.episode, self.frame = text, str(file), episode, frame
        self.what = what
        named = episode and f'episode {episode}'
        place = ', '.join(filter(None, (str(file), named, frame_name(frame))))
        super().__init__(f'{place}: {text}' if place else text)


def frame_name(frame: int | None) -> str:
    """Return how a message names a frame; empty for none."""
    return '' if frame is None else f'frame {frame}'
