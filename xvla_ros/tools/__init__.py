# SPDX-License-Identifier: Apache-2.0
"""The subcommands of `xvla`; each has add_arguments(parser) and run(args) -> exit code."""
