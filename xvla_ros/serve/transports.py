# SPDX-License-Identifier: Apache-2.0
"""The two connections to a server: HTTP with JSON (v1) and WebSocket with msgpack (v2)."""

from collections.abc import Mapping
import json
import ssl
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
import msgpack
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from xvla_ros.core.errors import InferenceError
from xvla_ros.serve.arrays import json_numpy_literal, msgpack_map, read_array
from xvla_ros.serve.encoded_images import ColorOrder
from xvla_ros.serve.requests import Limits, RequestError

# A chunk of 30 x 20 numbers is 15 kB of JSON; larger answers than this are refused.
LARGEST_ANSWER = 8 * 2**20
# Statuses of a server without /health.
NO_HEALTH = (404, 405)


class Transport(Protocol):
    """One connection. All methods run on one event loop and may be cancelled at any point."""

    url: str
    color_order: ColorOrder

    async def handshake(self) -> Mapping[str, Any] | None:
        """Connect; return the server's metadata, or None for the authors' server."""

    async def ask(self, payload: Mapping[str, Any]) -> NDArray[np.float32]:
        """Send one request with numpy arrays, and return the actions."""

    async def close(self) -> None:
        """Close the connection."""


def open_transport(url: str, token: str | None) -> Transport:
    """Choose the transport by a URL's scheme; add `/act` if there is no path."""
    parts = urlsplit(url)
    if parts.scheme not in ('http', 'https', 'ws', 'wss') or not parts.hostname:
        raise InferenceError(f'{url!r}: expected http://host:port (v1) or ws://host:port (v2)')
    path = parts.path if parts.path not in ('', '/') else '/act'
    whole = parts._replace(path=path, query='', fragment='').geturl()
    headers = {'Authorization': f'Bearer {token}'} if token else {}
    kind = HttpTransport if parts.scheme.startswith('http') else WebSocketTransport
    return kind(whole, headers)


def health_url(url: str) -> str:
    """Return the address of /health beside any of a server's addresses."""
    parts = urlsplit(url)
    scheme = parts.scheme.replace('ws', 'http')
    return parts._replace(scheme=scheme, path='/health').geturl()


class HttpTransport:
    """Version 1: POST with json_numpy strings, over one connection that is kept open."""

    color_order: ColorOrder = 'rgb'

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        # The caller has its own deadline. Proxies are not used for a robot's server. Certificates
        # are the machine's (or SSL_CERT_FILE's), as for WebSockets.
        self._client = httpx.AsyncClient(  # nosec B113
            headers=headers, timeout=None, trust_env=False, verify=ssl.create_default_context()
        )

    async def handshake(self) -> Mapping[str, Any] | None:
        """Ask /health."""
        status, body = await self._send('GET', health_url(self.url))
        return None if status in NO_HEALTH else as_object(body, status, health_url(self.url))

    async def ask(self, payload: Mapping[str, Any]) -> NDArray[np.float32]:
        """Post one request; replace a connection that has died since the last one, once."""
        fields = (f'{json.dumps(name)}: {literal(value)}' for name, value in payload.items())
        content = f'{{{", ".join(fields)}}}'.encode()
        status, body = await self._send('POST', self.url, content)
        return read_actions(as_object(body, status, self.url), self.url)

    async def _send(
        self, method: str, url: str, content: bytes | None = None
    ) -> tuple[int, bytes]:
        try:
            try:
                return await self._exchange(method, url, content)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                return await self._exchange(method, url, content)
        except (httpx.HTTPError, OSError) as error:
            raise unreachable(url, error) from error

    async def _exchange(self, method: str, url: str, content: bytes | None) -> tuple[int, bytes]:
        headers = {'Content-Type': 'application/json'} if content else {}
        body = bytearray()
        async with self._client.stream(method, url, content=content, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise garbage(f'{url}: answered more than {LARGEST_ANSWER} bytes')
        return response.status_code, bytes(body)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


class WebSocketTransport:
    """Version 2: msgpack maps over one WebSocket, which is reopened after a fault."""

    color_order: ColorOrder = 'bgr'

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self._headers = headers
        self._socket: ClientConnection | None = None

    async def handshake(self) -> Mapping[str, Any] | None:
        """Connect and read the welcome; the authors' server sends no metadata in it."""
        self._abort()
        _, welcome = await self._connect()
        return welcome if 'domains' in welcome else None

    async def ask(self, payload: Mapping[str, Any]) -> NDArray[np.float32]:
        """Exchange one message; an interruption also ends the connection."""
        wire = {k: msgpack_map(v) if is_array(v) else v for k, v in payload.items()}
        message = msgpack.packb(wire, use_bin_type=True)
        try:
            answer = await self._exchange(message)
        except BaseException:
            self._abort()  # otherwise the late answer would be taken for the next one
            raise
        return read_actions(answer, self.url)

    async def _exchange(self, message: bytes) -> Mapping[Any, Any]:
        connection = self._socket
        if connection is None or connection.close_code is not None:
            connection, _ = await self._connect()
        try:
            await connection.send(message)
            return self._unpack(await connection.recv())
        except (WebSocketException, OSError) as error:
            raise unreachable(self.url, error) from error

    async def _connect(self) -> tuple[ClientConnection, Mapping[Any, Any]]:
        """Return a new connection, and the server's welcome."""
        try:
            self._socket = connection = await connect(
                self.url,
                additional_headers=self._headers,
                max_size=LARGEST_ANSWER,
                open_timeout=None,
                compression=None,
                proxy=None,
            )
            return connection, self._unpack(await connection.recv())
        except InvalidStatus as error:
            answer = error.response
            raise refused(bytes(answer.body or b''), answer.status_code, self.url) from error
        except (WebSocketException, OSError) as error:
            raise unreachable(self.url, error) from error

    def _unpack(self, message: str | bytes) -> Mapping[Any, Any]:
        try:
            answer = msgpack.unpackb(message, raw=False, max_ext_len=0)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise garbage(f'{self.url}: answered no msgpack: {error}') from error
        if not isinstance(answer, Mapping):
            raise garbage(f'{self.url}: answered a {type(answer).__name__}, expected a map')
        return answer

    def _abort(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    async def close(self) -> None:
        """Close the connection."""
        self._abort()


def literal(value: Any) -> str:
    """Write a payload's value as JSON, arrays in the form of v1."""
    return json_numpy_literal(value) if is_array(value) else json.dumps(value)


def is_array(value: Any) -> bool:
    """Say whether a payload's value is sent as an array."""
    return isinstance(value, np.ndarray)


def unreachable(url: str, error: Exception) -> InferenceError:
    """Return the error for a server that does not answer."""
    return InferenceError(
        f'{url}: no X-VLA server answers ({type(error).__name__}: {error}); expected one to be '
        f'running there (xvla serve --checkpoint DIR --host HOST --port N)',
        code='server_unreachable',
    )


def garbage(text: str) -> InferenceError:
    """Return the error for an answer that does not follow the protocol."""
    return InferenceError(text, code='server_garbage')


def as_object(body: bytes, status: int, url: str) -> Mapping[str, Any]:
    """Parse a JSON answer; raise the server's reason for an error status."""
    if status != 200:
        raise refused(body, status, url)
    answer = parsed(body)
    if not isinstance(answer, Mapping):
        raise garbage(f'{url}: answered {body[:200]!r}, expected a JSON object')
    return answer


def refused(body: bytes, status: int, url: str) -> InferenceError:
    """Return the error for a refused request, with the server's reason if it gave one."""
    answer = parsed(body)
    reason = answer.get('error', answer) if isinstance(answer, Mapping) else repr(body[:200])
    text = f'{url}: refused with status {status}: {reason}'
    return InferenceError(text, code='server_refused')


def parsed(body: bytes) -> Any:
    """Parse JSON; None if it is not valid."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def read_actions(answer: Mapping[Any, Any], url: str) -> NDArray[np.float32]:
    """Check the actions of an answer: (num_actions, dim) finite float32."""
    if 'error' in answer:
        raise InferenceError(f'{url}: refused: {answer["error"]}', code='server_refused')
    if 'action' not in answer:
        raise garbage(f'{url}: answered {sorted(map(str, answer))}, expected "action"')
    try:
        actions = read_array(answer['action'], 'action', Limits())
    except RequestError as error:
        raise garbage(f'{url}: {error}') from None
    if actions.ndim != 2 or not actions.size:
        raise InferenceError(
            f'{url}: action has shape {list(actions.shape)}, expected (num_actions, dim)',
            code='answer_shape',
        )
    if not np.isfinite(actions).all():
        text = f'{url}: answered actions that are not finite'
        raise InferenceError(text, code='answer_not_finite')
    return actions.astype(np.float32)
