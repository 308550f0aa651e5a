# SPDX-License-Identifier: Apache-2.0
"""Prints one line about a missing Python package. Imports only the standard library."""

from importlib import import_module
import sys

# Exit code of a command that is used wrongly, also for a node that cannot start.
USAGE_ERROR = 2
FIX = (
    'run `make build` in the checkout, or, for a workspace of your own, make the virtual '
    'environment of docs/install.md before `colcon build`'
)


def missing_package(error: ModuleNotFoundError) -> str:
    """Return what to do about a package that cannot be imported."""
    name = (error.name or 'unknown').split('.')[0]
    return f"the Python package '{name}' is missing for {sys.executable}: {FIX}"


def run_main(module: str, name: str) -> int:
    """
    Run `main` of a module and return its exit code.

    :param name: name of the command, for the line on stderr about a missing package.
    """
    try:
        main = import_module(module).main
    except ModuleNotFoundError as error:
        sys.stderr.write(f'{name}: {missing_package(error)}\n')
        return USAGE_ERROR
    code: int = main()
    return code
