# SPDX-License-Identifier: Apache-2.0
"""The `xvla` command. It imports only the module of the subcommand that is called."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
import os
import select
import sys
from typing import Protocol

from xvla_ros import __version__
from xvla_ros.core.errors import one_line, show_stack, XvlaError

# Subcommands and their descriptions. The code is in the module of the same name, with _ for -; for
# those in FOLDERS it is in the folder's command.py.
COMMANDS = {
    'demo': 'let a policy drive a simulated robot over ROS 2',
    'serve': "serve a checkpoint in X-VLA's wire protocol",
    'adapt': 'train a checkpoint on demonstrations',
    'check': 'check demonstrations before training',
    'convert-data': 'convert demonstrations between formats',
    'evaluate': 'measure a policy on demonstrations or in simulated scenes',
    'replay': 'run a policy on a recorded bag',
    'record': 'record episodes into a bag',
    'report': 'make an HTML page from a bag or a replay',
    'fetch': 'download a published checkpoint from the hub',
    'inspect': 'show what a checkpoint contains',
    'convert': 'convert a checkpoint between layouts',
    'export': 'write a checkpoint as graphs for ONNX Runtime or OpenVINO',
    'tune': 'find the fastest setting of a policy within a bound on the error',
    'joints': 'write the joints table of a joint-space checkpoint',
    'doctor': 'check this machine and a robot, and tell what to fix',
    'bench': 'run benchmarks; results go to out/bench.json',
}
FOLDERS = {
    'adapt',
    'check',
    'convert-data',
    'demo',
    'doctor',
    'evaluate',
    'export',
    'fetch',
    'record',
    'tune',
}
USAGE_ERROR = 2
UNHEARD = 141  # 128 + SIGPIPE: a shell's exit code of a process that wrote to a closed pipe


class Command(Protocol):
    """The interface of a subcommand's module."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: Namespace) -> int:
        """Run the subcommand; return the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; an error is one line on stderr and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name, rest = _choose(arguments)
        module: Command = import_module(module_of(name))
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
            raise  # another pipe broke, for example to a child process that has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEARD
    except Exception as error:  # exit code 2, because 1 has a meaning for some commands
        print(f'xvla: {one_line(error)}', file=sys.stderr)
        show_stack(error)
        return USAGE_ERROR


def module_of(name: str) -> str:
    """Return the module that holds a subcommand."""
    place = name.replace('-', '_') + ('.command' if name in FOLDERS else '')
    return f'xvla_ros.tools.{place}'


def _unread() -> bool:
    """Tell whether the reader of the output has closed the pipe, as `head` does."""
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _choose(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the subcommand and the arguments after it."""
    listing = '\n'.join(f'  {name:14}{text}' for name, text in COMMANDS.items())
    parser = ArgumentParser(
        prog='xvla',
        description='X-VLA on ROS 2.',
        epilog=f'commands:\n{listing}\n\nSee xvla COMMAND --help for its arguments.',
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'xvla_ros {__version__}')
    parser.add_argument('command', choices=tuple(COMMANDS), metavar='COMMAND')
    chosen = parser.parse_args(arguments[:1] or ['--help'])
    return chosen.command, list(arguments[1:])


if __name__ == '__main__':
    sys.exit(main())
