# SPDX-License-Identifier: Apache-2.0
"""The errors of xvla_ros, one class per who can fix it."""


class XvlaError(Exception):
    """Anything xvla_ros refuses: the message says what was wrong, where, and what was expected."""


class ConfigError(XvlaError):
    """The user's configuration is wrong: an embodiment file, a parameter, a command line."""


class ObservationError(XvlaError):
    """An input is missing, stale or malformed: nothing is predicted, the robot holds."""


class InferenceError(XvlaError):
    """The model failed or answered nonsense: the robot holds."""


class CheckpointError(XvlaError):
    """A checkpoint is incomplete, malformed or does not fit the embodiment."""
