# SPDX-License-Identifier: Apache-2.0
"""
Write the joints table of an arm: joint, unit and scale of a joint-space checkpoint's numbers.

From the unit of its data and the URDF:

    xvla joints --urdf so101.urdf --unit deg --gripper gripper

or from the LeRobot calibration of the arm in the data:

    xvla joints --calibration my_arm.json --unit deg --tick-zero 2048 --max-speed 4

The output is YAML for `arms.<name>` of an embodiment file. Check it before a robot uses it: `xvla
doctor --checkpoint DIR --embodiment FILE` compares it with a checkpoint's statistics.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import json
from pathlib import Path

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.joint_units import (
    calibrated_line,
    Calibration,
    Line,
    MIDDLE_TICK,
    read_calibration,
    unit_line,
    UNITS,
)

# Faster than any servo or arm [rad/s]; higher limits in a URDF are placeholders.
FASTEST = 7.0
GRIPPERS = {'0..1': 1.0, '0..100': 100.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One joint of the table; max_speed in rad/s."""

    name: str
    line: Line
    max_speed: float


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        '--unit', choices=UNITS, required=True, help="unit of the checkpoint's data"
    )
    parser.add_argument('--urdf', type=Path, help='limits, speeds and names of the joints')
    parser.add_argument('--calibration', type=Path, help='LeRobot calibration file (JSON)')
    parser.add_argument('--joints', help='names in the order of the data, separated by commas')
    parser.add_argument('--first-index', type=int, default=0, help="of the arm's first number")
    parser.add_argument(
        '--tick-zero', action='append', default=[], metavar='[JOINT=]TICK',
        help='tick at which the driver reports 0 rad (default: 2048)',
    )  # fmt: skip
    parser.add_argument(
        '--flip', action='append', default=[], metavar='JOINT',
        help='this joint counts the other way in the data',
    )  # fmt: skip
    parser.add_argument(
        '--zero', action='append', default=[], metavar='JOINT=RAD',
        help='position at which the data has 0, by the unit alone',
    )  # fmt: skip
    parser.add_argument(
        '--motors', choices=('feetech', 'dynamixel'), default='feetech',
        help='LeRobot heeds the drive_mode of Feetech motors only',
    )  # fmt: skip
    parser.add_argument('--gripper', default='gripper', help='name that is no joint of the arm')
    parser.add_argument(
        '--gripper-range', choices=tuple(GRIPPERS), default='0..100', help='closed to open'
    )
    parser.add_argument('--max-speed', type=float, help='of every joint [rad/s]')
    parser.add_argument('--max-acceleration', type=float, default=5.0, help='[rad/s^2]')


def run(args: Namespace) -> int:
    """Print the table."""
    print('\n'.join(table(args, rows(args))))
    return 0


def rows(args: Namespace) -> list[Row]:
    """
    Compute the table.

    :raises ConfigError: a source is missing or unreadable, or a named joint is missing.
    """
    from xvla_ros.control.urdf import joint_ranges

    ranges = joint_ranges(args.urdf) if args.urdf else {}
    motors = _calibration(args.calibration)
    names = _names(args, motors or ranges)
    ticks, zeros = numbers(args.tick_zero, '--tick-zero'), numbers(args.zero, '--zero')
    given = {*ticks, *zeros, *args.flip} - {''}
    unknown = sorted(given - set(names))
    if unknown:
        raise ConfigError(f'no joint {", ".join(unknown)}; there are {", ".join(names)}')
    found = []
    for name in names:
        sign = -1 if name in args.flip else 1
        if motors:
            tick = ticks.get(name, ticks.get('', MIDDLE_TICK))
            line = calibrated_line(args.unit, _motor(motors, name, args.motors), tick, sign)
        else:
            ends = (ranges[name].lower, ranges[name].upper)
            line = unit_line(args.unit, ends, sign, zeros.get(name, 0.0))
        speed = args.max_speed or (ranges[name].speed if name in ranges else 0.0)
        if not 0 < speed <= FASTEST:
            raise ConfigError(
                f'{name}: no speed that an arm could have (found {speed:g} rad/s), give '
                '--max-speed'
            )
        found.append(Row(name=name, line=line, max_speed=speed))
    return found


def numbers(given: list[str], option: str) -> dict[str, float]:
    """Return numbers by joint; a number without a joint is for all, with an empty name."""
    found = {}
    for text in given:
        name, _, value = text.rpartition('=')
        try:
            found[name] = float(value)
        except ValueError:
            raise ConfigError(f'{option} {text!r}: expected a number, or JOINT=NUMBER') from None
    return found


def _calibration(path: Path | None) -> dict[str, Calibration]:
    if path is None:
        return {}
    try:
        return read_calibration(json.loads(path.read_text(encoding='utf-8')), str(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path}: cannot be read: {error}') from error


def _motor(motors: Mapping[str, Calibration], name: str, kind: str) -> Calibration:
    motor = motors[name]
    inverted = motor.inverted and kind == 'feetech'
    return Calibration(range_min=motor.range_min, range_max=motor.range_max, inverted=inverted)


def _names(args: Namespace, source: Mapping[str, object]) -> list[str]:
    """Return the arm's joints in the order of the data."""
    if not source:
        raise ConfigError('give --urdf or --calibration, with joints that turn')
    names = args.joints.split(',') if args.joints else [n for n in source if n != args.gripper]
    missing = [name for name in names if name not in source]
    if missing or len(set(names)) != len(names):
        raise ConfigError(
            f'--joints {",".join(names)}: expected each once, of {", ".join(source)}'
        )
    return names


def table(args: Namespace, found: list[Row]) -> Iterator[str]:
    """Yield the table as lines of YAML."""
    source = f'calibration {args.calibration}' if args.calibration else f'URDF {args.urdf}'
    yield f'# unit {args.unit}, by {source}: value = scale * radians + offset'
    yield 'joints:'
    for index, row in enumerate(found, args.first_index):
        yield (
            f'  {row.name}: {{ros_name: {row.name}, model_index: {index}, '
            f'scale: {row.line.scale!r}, offset: {row.line.offset!r}, '
            f'max_speed_rad_s: {row.max_speed!r}, '
            f'max_acceleration_rad_s2: {args.max_acceleration!r}}}'
        )
    yield 'gripper:  # further keys as they are'
    yield f'  model_index: {args.first_index + len(found)}'
    yield '  model_closed: 0.0'
    yield f'  model_open: {GRIPPERS[args.gripper_range]!r}'
