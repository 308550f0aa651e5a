# SPDX-License-Identifier: Apache-2.0
"""The arguments of the launch files and their meaning. Free of ROS."""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from xvla_ros.bringup.table import checkpoint_folder
from xvla_ros.core.checkpoints import checkpoint_overrides
from xvla_ros.core.embodiment import parse_override
from xvla_ros.core.errors import ConfigError

ARGUMENTS = {
    'embodiment': 'Name of a robot in config/, or path to a parameter file.',
    'checkpoint': "Checkpoint folder, instead of the embodiment's.",
    'server_url': 'URL of an X-VLA server, instead of a checkpoint.',
    'instruction': 'First instruction. Empty: the policy waits for one.',
    'armed': 'true: send targets from the start. false: dry run until ~/arm is called.',
    'namespace': 'Namespace of the nodes and of their relative topics. Empty: none.',
    'use_sim_time': 'true or false: whether nodes use the time on /clock. Empty: as in the file.',
    'log_level': 'Lowest severity that is logged: debug, info, warn, error or fatal.',
    'respawn': 'true: restart a node 2 s after it has ended. false: end the launch.',
    'rviz': 'true: show the plan in RViz.',
}
DEFAULTS = {'armed': 'false', 'log_level': 'info', 'respawn': 'false', 'rviz': 'false'}
# Every launch file has these: launch itself reads them.
OF_LAUNCH = ('sigterm_timeout', 'sigkill_timeout', 'emulate_tty')
LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
TRUTH = {'true': True, '1': True, 'false': False, '0': False}
# An unknown name this similar to a known one (difflib's ratio, 0 to 1) counts as misspelt. It is
# refused even where another launch file includes this one.
NEAR = 0.75


def check_names(given: Collection[str], known: Collection[str], *, all_ours: bool) -> None:
    """
    Refuse unknown launch arguments.

    Names with a dot are parameters of the embodiment; its reader checks them.

    :param given: names of all launch configurations. :param known: the declared names.
    :param all_ours: whether all names are meant for this launch file. If another launch file
        includes it, only names similar to a known one are refused.
    :raises ConfigError: naming the argument and the nearest known one.
    """
    for name in sorted(set(given) - set(known)):
        if '.' in name:
            continue
        nearest = get_close_matches(name, known, 1, NEAR)
        if nearest or all_ours:
            hint = f"did you mean '{nearest[0]}'?" if nearest else f'known: {", ".join(known)}'
            raise ConfigError(f"unknown launch argument '{name}'; {hint}")


def is_top_level(launch_file: str, command: Sequence[str], package: str = 'xvla_ros') -> bool:
    """
    Tell whether a command line launches a file itself, rather than one that includes it.

    :param command: as in `ros2 launch PACKAGE FILE name:=value`, or `ros2 launch PATH`.
    """
    for before, word in zip(['', *command], command, strict=False):
        if before == package and word == Path(launch_file).name:
            return True
        if word.endswith('.py') and Path(word).exists() and Path(word).samefile(launch_file):
            return True
    return False


def truth(name: str, text: str) -> bool:
    """
    Return the meaning of true, false, True, False, 1 or 0.

    :raises ConfigError: it is another text.
    """
    if text.lower() not in TRUTH:
        raise ConfigError(f"launch argument '{name}': expected true or false, got '{text}'")
    return TRUTH[text.lower()]


def log_level(text: str) -> str:
    """
    Return a severity in lower case.

    :raises ConfigError: there is no such severity.
    """
    if text.lower() not in LEVELS:
        raise ConfigError(f"launch argument 'log_level': expected one of {LEVELS}, got '{text}'")
    return text.lower()


def overrides(chosen: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the parameters that launch arguments replace; an empty argument replaces nothing.

    :param chosen: the declared arguments and parameters by their dotted names, as text.
    :raises ConfigError: a value is not what its argument expects.
    """
    given = {name: parse_override(name, value) for name, value in chosen.items() if '.' in name}
    given['control.start_armed'] = truth('armed', chosen['armed'])
    given |= {
        f'policy.{name}': chosen[name]
        for name in ('checkpoint', 'server_url', 'instruction')
        if chosen[name]
    }
    if chosen['checkpoint']:
        given |= checkpoint_overrides(checkpoint_folder(chosen['checkpoint']))
    if chosen['server_url'] and not chosen['checkpoint']:
        # An embodiment names a checkpoint or a server, not both.
        given |= {'policy.checkpoint': '', 'policy.adapter': ''}
    if chosen['use_sim_time']:
        given['use_sim_time'] = truth('use_sim_time', chosen['use_sim_time'])
    return given
