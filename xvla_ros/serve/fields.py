# SPDX-License-Identifier: Apache-2.0
"""The fields of a request: a client writes them, a server accepts or refuses each by its name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.warm_start import WarmStart
from xvla_ros.serve.arrays import read_array, read_numpy_map, shorten
from xvla_ros.serve.encoded_images import ColorOrder, decode_image
from xvla_ros.serve.requests import Contract, Limits, RequestError

# Longest plan that a robot can have left [s].
MOST_SLACK_S = 60.0


def read_instruction(value: Any, limits: Limits) -> str:
    """Accept text that is not empty, not too long and valid UTF-8."""
    if not isinstance(value, str) or not value.strip():
        raise RequestError(f'language_instruction: is {shorten(value)}, expected text')
    if len(value) > limits.instruction_characters:
        raise RequestError(
            f'language_instruction: {len(value)} characters, '
            f'at most {limits.instruction_characters}'
        )
    if any('\ud800' <= character <= '\udfff' for character in value):
        raise RequestError('language_instruction: holds half a surrogate pair, expected text')
    return value


def read_integer(value: Any, name: str, low: int, high: int) -> int:
    """Accept an integer within bounds, also as a numpy scalar on the wire."""
    if value is None:
        raise RequestError(f'{name}: missing, expected an integer from {low} to {high}')
    if isinstance(value, Mapping):
        array = read_numpy_map(value, name)
        value = array.item() if array.ndim == 0 else array
    if type(value) is not int or not low <= value <= high:
        raise RequestError(
            f'{name}: is {shorten(value)}, expected an integer from {low} to {high}'
        )
    return value


def read_order(value: Any) -> ColorOrder:
    """Accept the two colour orders."""
    if value not in ('rgb', 'bgr'):
        raise RequestError(f'image_color_order: is {shorten(value)}, expected "rgb" or "bgr"')
    return 'rgb' if value == 'rgb' else 'bgr'


def read_proprio(value: Any, contract: Contract, limits: Limits) -> NDArray[np.float32]:
    """Read the arm's state (dim_proprio,), alone or as a batch of one."""
    if value is None:
        raise RequestError(f'proprio: missing, expected {contract.dim_proprio} numbers')
    array = read_array(value, 'proprio', limits)
    if array.shape == (1, contract.dim_proprio):
        array = array[0]
    return read_floats(array, 'proprio', (contract.dim_proprio,), limits)


def read_optional(
    payload: Mapping[str, Any], name: str, shape: tuple[int, ...], limits: Limits
) -> NDArray[np.float32] | None:
    """Read an optional array of a known shape."""
    if payload.get(name) is None:
        return None
    return read_floats(read_array(payload[name], name, limits), name, shape, limits)


def read_prefix(
    payload: Mapping[str, Any], contract: Contract, limits: Limits
) -> NDArray[np.float32] | None:
    """Read committed steps (d, dim_action) with d below the length of a chunk."""
    if payload.get('prefix') is None:
        return None
    array = read_array(payload['prefix'], 'prefix', limits)
    rows = len(array) if array.ndim == 2 else -1
    if not 0 <= rows < contract.num_actions:
        raise RequestError(
            f'prefix: has shape {list(array.shape)}, '
            f'expected fewer than {contract.num_actions} rows'
        )
    return read_floats(array, 'prefix', (rows, contract.dim_action), limits) if rows else None


def read_tolerance(payload: Mapping[str, Any], limits: Limits) -> tuple[float, float] | None:
    """Read [millimetres, degrees], both at least zero."""
    values = read_optional(payload, 'tolerance', (2,), limits)
    if values is None:
        return None
    if values.min() < 0.0:
        raise RequestError('tolerance: is negative, expected [millimetres, degrees] >= 0')
    return float(values[0]), float(values[1])


def read_warm_start(
    payload: Mapping[str, Any], contract: Contract, limits: Limits
) -> WarmStart | None:
    """Read a plan (num_actions, dim_action) with the flow time to start from it; both optional."""
    plan = read_optional(payload, 'warm_start', contract.action_shape, limits)
    sent = payload.get('warm_start_time')
    if sent is None and plan is None:
        return None
    if sent is None:
        raise RequestError('warm_start_time: missing, expected with every warm_start')
    return WarmStart(plan=plan, time=read_flow_time(sent, 'warm_start_time'))


def read_slack(value: Any) -> float | None:
    """Accept the seconds that a robot's plan still lasts, also as a numpy scalar on the wire."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        array = read_numpy_map(value, 'slack_s')
        value = array.item() if array.ndim == 0 else array
    if type(value) not in (int, float) or not 0 <= value <= MOST_SLACK_S:
        raise RequestError(
            f'slack_s: is {shorten(value)}, expected seconds from 0 to {MOST_SLACK_S:g}'
        )
    return float(value)


def read_flow_time(value: Any, name: str) -> float:
    """Accept a number above 0, up to 1, also as a numpy scalar on the wire."""
    if isinstance(value, Mapping):
        array = read_numpy_map(value, name)
        value = array.item() if array.ndim == 0 else array
    if type(value) not in (int, float) or not 0 < value <= 1:
        raise RequestError(f'{name}: is {shorten(value)}, expected a number above 0, up to 1')
    return float(value)


def read_floats(
    array: NDArray[Any], name: str, shape: tuple[int, ...], limits: Limits
) -> NDArray[np.float32]:
    """Accept finite numbers of one shape and of a plausible magnitude."""
    if array.shape != shape:
        raise RequestError(f'{name}: has shape {list(array.shape)}, expected {list(shape)}')
    with np.errstate(all='ignore'):
        inside = np.abs(array.astype(np.float64)) <= limits.proprio
    if not inside.all():
        where = tuple(int(i) for i in np.argwhere(~inside)[0])
        raise RequestError(
            f'{name}{list(where)}: is {array[where]}, '
            f'expected a finite number within {limits.proprio:g}'
        )
    return array.astype(np.float32)


def read_images(
    payload: Mapping[str, Any], order: ColorOrder, contract: Contract, limits: Limits
) -> tuple[NDArray[np.uint8], ...]:
    """Read the views image0, image1, ...; refuse a missing one, so that no view changes place."""
    keys = contract.camera_keys
    sent = [key for key in payload if isinstance(key, str) and key.startswith('image')]
    unknown = sorted(set(sent) - {*keys, 'image_color_order'})
    if unknown:
        raise RequestError(f'{shorten(unknown[0])}: no such camera, expected {", ".join(keys)}')
    count = len([key for key in keys if key in payload])
    missing = [key for key in keys[: max(count, 1)] if key not in payload]
    if missing:
        raise RequestError(
            f'{missing[0]}: missing; cameras are {", ".join(keys)} in order and without holes'
        )
    return tuple(read_image(payload[key], key, order, limits) for key in keys[:count])


def read_image(value: Any, name: str, order: ColorOrder, limits: Limits) -> NDArray[np.uint8]:
    """Read one view, raw (H, W, 3) uint8 RGB or encoded (bytes,) uint8, as (H, W, 3) uint8 RGB."""
    if value is None or isinstance(value, (bytes, bool, int, float)):
        raise RequestError(f'{name}: is a {type(value).__name__}, expected an array')
    array = bytes_of_list(read_array(value, name, limits), value, name)
    if array.dtype != np.uint8:
        raise RequestError(f'{name}: is {array.dtype}, expected uint8')
    if array.ndim == 1 and array.size:
        return decode_image(array, order, limits, name)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise RequestError(
            f'{name}: has shape {list(array.shape)}, '
            f'expected (height, width, 3) or an encoded file (bytes,)'
        )
    if array.shape[0] * array.shape[1] > limits.pixels:
        raise RequestError(
            f'{name}: {array.shape[1]} x {array.shape[0]} pixels, at most {limits.pixels}', 413
        )
    return array


def bytes_of_list(array: NDArray[Any], value: Any, name: str) -> NDArray[Any]:
    """Convert an image that was sent as a list to bytes, because a list has no dtype."""
    is_list = isinstance(value, list) or (isinstance(value, str) and value.lstrip()[:1] == '[')
    if not is_list or array.dtype.kind != 'i' or not array.size:
        return array
    if array.min() < 0 or array.max() > 255:
        raise RequestError(f'{name}: has values outside 0 to 255')
    return array.astype(np.uint8)


def array_fields(**arrays: Any) -> dict[str, Any]:
    """Return those of the request's optional arrays that are given, by the protocol's names."""
    return {name: np.asarray(values) for name, values in arrays.items() if values is not None}


def start_fields(warm_start: WarmStart | None) -> dict[str, Any]:
    """Return the fields of a request whose sampling starts from a plan; none without one."""
    if warm_start is None:
        return {}
    fields: dict[str, Any] = {'warm_start_time': float(warm_start.time)}
    return fields | array_fields(warm_start=warm_start.plan)


def deadline_fields(slack_s: float | None, least_steps: int | None) -> dict[str, Any]:
    """Return the fields that say when an answer is late, and how few steps a late one may have."""
    fields: dict[str, Any] = {} if slack_s is None else {'slack_s': float(slack_s)}
    return fields if least_steps is None else fields | {'least_steps': int(least_steps)}


def pair(tolerance: Any) -> tuple[float, float] | None:
    """Return (millimetres, degrees) of the model's `Tolerance`, or of a pair."""
    told: tuple[float, float] | None = tolerance
    if hasattr(tolerance, 'position_mm'):
        told = (tolerance.position_mm, tolerance.rotation_deg)
    return told
