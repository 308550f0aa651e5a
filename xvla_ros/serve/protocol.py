# SPDX-License-Identifier: Apache-2.0
"""
The two generations of X-VLA's wire protocol.

v1, POST /act: a JSON object whose arrays are strings of json_numpy (models/modeling_xvla.py,
`_build_app`). v2, WebSocket /act: msgpack maps with msgpack_numpy arrays (v2 branch,
models/server.py). A request is read completely or refused with a reason; no value is guessed,
moved or filled in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from typing import Any

import msgpack
from numpy.typing import NDArray

from xvla_ros.serve.arrays import check_density, msgpack_map, shorten
from xvla_ros.serve.encoded_images import ColorOrder
from xvla_ros.serve.fields import (
    read_images,
    read_instruction,
    read_integer,
    read_optional,
    read_order,
    read_prefix,
    read_proprio,
    read_slack,
    read_tolerance,
    read_warm_start,
)
from xvla_ros.serve.requests import Contract, InferenceRequest, Limits, RequestError

# Default number of steps in both generations (models/modeling_xvla.py).
DEFAULT_STEPS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """
    The differences in meaning between the generations.

    :param color_order: colour order of encoded images in a request without `image_color_order`.
    :param domain_id: domain of a request without one; None: a request must have one.
    """

    color_order: ColorOrder
    domain_id: int | None


V1 = Dialect(color_order='rgb', domain_id=None)
V2 = Dialect(color_order='bgr', domain_id=0)


def parse_json(body: bytes, contract: Contract, limits: Limits) -> InferenceRequest:
    """Read the body of a v1 request."""
    check_density(body, limits, 'body')
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f'body: not JSON: {shorten(str(error))}', 400) from None
    return read_request(payload, V1, contract, limits)


def parse_msgpack(message: bytes, contract: Contract, limits: Limits) -> InferenceRequest:
    """Read one v2 message."""
    return read_request(unpack_msgpack(message, limits), V2, contract, limits)


def unpack_msgpack(message: bytes, limits: Limits) -> Any:
    """Unpack msgpack without extension types, and count its values meanwhile."""
    containers = values = 0

    def counted(container: Any) -> Any:
        nonlocal containers, values
        containers, values = containers + 1, values + len(container)
        if containers > limits.values or values > limits.numbers:
            raise RequestError('message: too many values; send arrays with msgpack_numpy', 413)
        return container

    try:
        return msgpack.unpackb(
            message,
            raw=False,
            max_ext_len=0,
            max_array_len=limits.numbers,
            max_map_len=limits.fields,
            object_hook=counted,
            list_hook=counted,
        )
    except RequestError:
        raise
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        msgpack.UnpackException,
    ) as error:
        raise RequestError(f'message: not msgpack: {shorten(str(error))}', 400) from None


def read_request(
    payload: Any, dialect: Dialect, contract: Contract, limits: Limits
) -> InferenceRequest:
    """
    Check every field of an unpacked request.

    Unknown fields are ignored, as by the authors' servers. Unknown cameras are refused, because
    the client would believe that it has sent a view.
    """
    if not isinstance(payload, Mapping):
        raise RequestError(f'body: is a {type(payload).__name__}, expected an object')
    domain = payload.get('domain_id', payload.get('domain', dialect.domain_id))
    order = read_order(payload.get('image_color_order', dialect.color_order))
    shape = (contract.num_actions, contract.dim_noise)
    steps = read_integer(payload.get('steps', DEFAULT_STEPS), 'steps', 1, limits.steps)
    least = payload.get('least_steps')
    return InferenceRequest(
        instruction=read_instruction(payload.get('language_instruction'), limits),
        domain_id=read_integer(domain, 'domain_id', 0, contract.domains - 1),
        steps=steps,
        least_steps=None if least is None else read_integer(least, 'least_steps', 1, steps),
        proprio=read_proprio(payload.get('proprio'), contract, limits),
        noise=read_optional(payload, 'noise', shape, limits),
        prefix=read_prefix(payload, contract, limits),
        tolerance=read_tolerance(payload, limits),
        warm_start=read_warm_start(payload, contract, limits),
        slack_s=read_slack(payload.get('slack_s')),
        images=read_images(payload, order, contract, limits),
    )


def action_json(actions: NDArray[Any]) -> bytes:
    """Write a v1 answer: `{"action": [[...], ...]}`."""
    return json.dumps({'action': actions.tolist()}, allow_nan=False).encode()


def action_msgpack(actions: NDArray[Any]) -> bytes:
    """Write a v2 answer: `{"action": array}`."""
    message: bytes = msgpack.packb({'action': msgpack_map(actions)}, use_bin_type=True)
    return message
