# SPDX-License-Identifier: Apache-2.0
"""The `xvla` command: one table of subcommands, each imported when it is asked for."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
import os
import select
import sys
from typing import Protocol

from xvla_ros import __version__
from xvla_ros.core.errors import XvlaError

# name -> what it does; the module of the same name in this folder does it.
COMMANDS = {
    'demo': 'let a policy drive a simulated robot over ROS 2',
    'serve': "serve a checkpoint in X-VLA's wire protocol",
    'adapt': 'train a checkpoint on demonstrations',
    'evaluate': 'evaluate a policy on unseen scenes',
    'replay': 'run a policy on a recorded bag',
    'record': 'record episodes into a bag',
    'report': 'turn a bag or a run into pictures',
    'inspect': 'say what a checkpoint is',
    'convert': 'convert a checkpoint between layouts',
    'doctor': 'find out why something does not work',
    'bench': 'measure, into out/bench.json',
}
USAGE_ERROR = 2
UNHEARD = 141  # as a shell says of a process that a closed pipe ended


class Command(Protocol):
    """What a module of a subcommand offers."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: Namespace) -> int:
        """Do it; return the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; an error that the user can fix is one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name, rest = _choose(arguments)
        module: Command = import_module(f'xvla_ros.tools.{name}')
        parser = ArgumentParser(
            prog=f'xvla {name}',
            description=module.__doc__,
            formatter_class=RawDescriptionHelpFormatter,
        )
        module.add_arguments(parser)
        return module.run(parser.parse_args(rest))
    except XvlaError as error:
        print(f'xvla: {error}', file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print('xvla: interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _unread():
            raise  # another pipe: that of a child that died
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEARD


def _unread() -> bool:
    """Tell whether who read our output has read enough, as head does."""
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _choose(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the subcommand and what follows it."""
    listing = '\n'.join(f'  {name:10}{text}' for name, text in COMMANDS.items())
    parser = ArgumentParser(
        prog='xvla',
        description='X-VLA on ROS 2.',
        epilog=f'commands:\n{listing}\n\nxvla COMMAND --help says more.',
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'xvla_ros {__version__}')
    parser.add_argument('command', choices=tuple(COMMANDS), metavar='COMMAND')
    chosen = parser.parse_args(arguments[:1] or ['--help'])
    return chosen.command, list(arguments[1:])


if __name__ == '__main__':
    sys.exit(main())
