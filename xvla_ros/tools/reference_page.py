# SPDX-License-Identifier: Apache-2.0
"""
Write docs/embodiments.md: every key of an embodiment file, from the settings classes.

Run `python -m xvla_ros.tools.reference_page` after a change of the settings; a test checks it.
"""

from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass, MISSING
from pathlib import Path
import sys
from typing import Any, get_args, get_origin, get_type_hints

from xvla_ros.core.embodiment import Embodiment

PAGE = Path('docs') / 'embodiments.md'
HEAD = """\
# Embodiment files

<!-- Written by `python -m xvla_ros.tools.reference_page`. Do not edit: change the settings. -->

Each robot, lab and checkpoint has one YAML file: a ROS 2 parameter file with its keys below
`/**: ros__parameters:`. All nodes and all tools read the same file. The whole file is checked
when it is read. An unknown key is refused, and the message names the nearest known key. A wrong
type, a value out of range and blocks that contradict each other are refused too. `config/` has a
file for each robot's real driver and one for its simulation (`*_sim.yaml`).

A single key can be replaced on a command line: `-p limits.max_linear_speed_m_s:=0.1` for a node,
`limits.max_linear_speed_m_s:=0.1` for a launch file, `--set limits.max_linear_speed_m_s=0.1` for
`xvla replay`. Launch files and `--set` take the value of a text setting literally: `--set
policy.instruction=42` needs no quotes; for a node write `-p policy.instruction:='"42"'`.

## Values

Tools read values as ROS's own parser (rcl) does. `xvla doctor --embodiment FILE` finds values that
a node would refuse.

| written | means |
|---|---|
| `5e-1`, `.5`, `1.` | 0.5, 0.5, 1.0; a float may be written as a whole number, not the reverse |
| `0x1F`, `017` | 31, 15 |
| `yes`, `no`, `on`, `off`, `true`, `false` | booleans; as texts they need quotes, as do numbers |
| `1:00`, `1_000`, `2026-01-01` | texts |
| `''` | an empty text: "none" where the tables below say so |
| `~`, `null`, nothing | refused: ROS knows no null. Write `''`, or leave the key out |
| `[1, 0.5]` | refused: ROS takes no mixed lists. Write `[1.0, 0.5]` |
| `[]`, `{}`, `*alias`, `%YAML 1.2` | refused: ROS takes none of them |

If a key is written twice, the last value counts; two values of different types are refused. A
section for one node (`policy_node:`) replaces values of a `/**:` section before it; the doctor
warns if nodes get different values. Names of topics may have letters, digits, `_` and `/`,
and no part may begin with a digit; `~/name` and `{node}` are allowed.

## While it runs

`ros2 param set /policy_node NAME VALUE` changes these settings of a running policy. Each change is
checked. All other parameters are read-only, and `ros2 param set` says so.

* At any time: `policy.instruction` (ends the running task), `policy.checkpoint` (the robot holds
  while it loads), `policy.warm_start_time`, `control.strategy`, and `threshold` and `hysteresis`
  of `arms.<name>.gripper`.
* Towards safer at any time, back only while the robot is not armed: speeds, first steps and
  `max_rotation_residual` of `limits`, and `limits.min_arm_distance_m`.
* Only while the robot is not armed, because braking uses them: the accelerations of `limits`.

No limit becomes less safe than at the start of policy and controller, because the controller keeps
that value. A changed limit applies to everything that the policy sends, until it is restarted.
"""
NAMES = {bool: 'bool', int: 'int', float: 'float', str: 'string'}


def page() -> str:
    """Return the page's text."""
    return HEAD + ''.join(f'\n{section}' for section in _sections(Embodiment, ''))


def _sections(settings: type, path: str) -> Iterator[str]:
    """Yield one section per block of settings, outer ones first."""
    hints = get_type_hints(settings)
    leaves, blocks = [], []
    for field in fields(settings):
        kind, many = _block(hints[field.name])
        if kind:
            blocks.append((kind, f'{path}{field.name}.' + ('<name>.' if many else '')))
        else:
            leaves.append(_row(field, hints[field.name], path))
    title = f'`{path[:-1]}`' if path else 'Top level'
    doc = _summary(settings.__doc__ or '')
    head = [f'## {title}', '', doc, '', '| key | type | default | meaning |', '|---|---|---|---|']
    yield '\n'.join([*head, *leaves]) + '\n'
    for kind, name in blocks:
        yield from _sections(kind, name)


def _block(hint: Any) -> tuple[type | None, bool]:
    """Return the settings class that a field holds, if it does, and whether one per name."""
    if get_origin(hint) is dict:
        return get_args(hint)[1], True
    for kind in (hint, *get_args(hint)):
        if is_dataclass(kind) and isinstance(kind, type):
            return kind, False
    return None, False


def _row(field: Field[Any], hint: Any, path: str) -> str:
    """Return the table row of one key."""
    text = field.metadata['description']
    low, high, choices = (field.metadata[k] for k in ('low', 'high', 'choices'))
    if choices:
        text += f' One of {", ".join(f"`{c}`" for c in choices)}.'
    if low is not None:
        text += f' At least {low}.' if high is None else f' {low} to {high}.'
    default = 'required' if field.default is MISSING else f'`{_yaml(field.default)}`'
    return f'| `{path}{field.name}` | {_type(hint)} | {default} | {text.replace("|", "/")} |'


def _type(hint: Any) -> str:
    """Return a type for people."""
    if get_origin(hint) is tuple:
        return f'list of {NAMES[get_args(hint)[0]]}'
    return NAMES[hint]


def _yaml(value: Any) -> str:
    """Return a value in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f'[{", ".join(map(_yaml, value))}]'
    return repr(value) if isinstance(value, str) else str(value)


def _summary(doc: str) -> str:
    """Return the text of a docstring without its indentation, line by line joined."""
    return ' '.join(line.strip() for line in doc.strip().splitlines() if line.strip())


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
