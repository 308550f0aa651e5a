# SPDX-License-Identifier: Apache-2.0
"""The HTTP and WebSocket interfaces of one policy: /act, /infer and /health."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
import msgpack
import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from xvla_ros.core.errors import ObservationError, XvlaError
from xvla_ros.serve.batcher import Batcher
from xvla_ros.serve.protocol import action_json, action_msgpack, parse_json, parse_msgpack
from xvla_ros.serve.requests import Contract, InferenceRequest, Limits, RequestError

log = logging.getLogger(__name__)

# A body that takes longer than this to arrive is refused, so that slow senders cannot pile up.
BODY_TIMEOUT_S = 30.0
# The rest of a body that is too large is read and dropped, up to this many times the limit,
# because a client that is still sending would not see the answer.
DRAINED = 4
# Fields that this server supports beyond the authors' protocol.
EXTENSIONS = (
    'noise',
    'prefix',
    'tolerance',
    'warm_start',
    'warm_start_time',
    'image_color_order',
    'slack_s',
    'least_steps',
)


class Service:
    """
    One policy with the wire protocol. A separate thread parses the bodies.

    :param token: bearer token that every request must carry; None: none.
    """

    def __init__(
        self, batcher: Batcher, contract: Contract, limits: Limits, token: str | None = None
    ) -> None:
        self.batcher, self.contract, self.limits = batcher, contract, limits
        self._token = token.encode() if token else None
        self._reader = ThreadPoolExecutor(1, 'read')

    def metadata(self) -> dict[str, Any]:
        """Describe the policy, for /health and the WebSocket welcome."""
        contract = self.contract
        return {
            'checkpoint': contract.checkpoint,
            'action_mode': contract.action_mode,
            'domains': list(range(contract.domains)),
            'cameras': list(contract.camera_keys),
            'dim_proprio': contract.dim_proprio,
            'num_actions': contract.num_actions,
            'dim_action': contract.dim_action,
            'dim_noise': contract.dim_noise,
            'extensions': list(EXTENSIONS),
            'trained_domains': contract.trained_domains,
            'first_anchor_index': contract.first_anchor_index,
        }

    def authorise(self, headers: Headers) -> None:
        """Refuse a request without the token, in a time independent of the token."""
        sent = headers.get('authorization', '').encode()
        if self._token and not secrets.compare_digest(sent, b'Bearer ' + self._token):
            raise RequestError(
                'not authorised: expected the header "Authorization: Bearer <token>"', 401
            )

    async def read_body(self, request: Request) -> bytes:
        """Receive a body, up to the limit."""
        try:
            return await asyncio.wait_for(self._receive(request), BODY_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise RequestError(f'body: not complete within {BODY_TIMEOUT_S:g} s', 408) from None

    async def _receive(self, request: Request) -> bytes:
        most, size, body = self.limits.body_bytes, 0, bytearray()
        async for chunk in request.stream():
            size += len(chunk)
            body += chunk if size <= most else b''
            if size > DRAINED * most:
                break
        if size > most:
            raise RequestError(f'body: more than {most} bytes', 413)
        return bytes(body)

    async def act_json(self, body: bytes, gone: 'asyncio.Future[Any]') -> bytes:
        """Answer one v1 body."""
        request = await self._read(parse_json, body)
        return action_json(await self._answer(request, gone))

    async def act_msgpack(self, message: bytes, gone: 'asyncio.Future[Any]') -> bytes:
        """Answer one v2 message, also with a refusal."""
        try:
            request = await self._read(parse_msgpack, message)
            return action_msgpack(await self._answer(request, gone))
        except Exception as error:
            status, reason = refusal(error)
            answer: bytes = msgpack.packb({'error': reason, 'status': status}, use_bin_type=True)
            return answer

    async def _read(self, parse: Any, data: bytes) -> InferenceRequest:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, parse, data, self.contract, self.limits)

    async def _answer(
        self, request: InferenceRequest, gone: 'asyncio.Future[Any]'
    ) -> NDArray[np.float32]:
        """Wait for the model; if the client disconnects, drop its request."""
        job: Future[NDArray[np.float32]] = self.batcher.submit(request)
        answer = asyncio.wrap_future(job)
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and is_disconnect(gone):
            job.cancel()
            raise RequestError('the client has left', 499)
        return await answer

    def close(self) -> None:
        """Stop the model's thread and the reader."""
        self.batcher.close()
        self._reader.shutdown(wait=False, cancel_futures=True)


def is_disconnect(gone: 'asyncio.Future[Any]') -> bool:
    """Say whether a finished receive ended the connection."""
    failed = gone.done() and not gone.cancelled() and gone.exception() is not None
    return failed or (gone.done() and gone.result().get('type', '').endswith('disconnect'))


def refusal(error: Exception) -> tuple[int, str]:
    """Return the status and the reason for the client."""
    if isinstance(error, RequestError):
        return error.status, str(error)
    if isinstance(error, ObservationError):
        return 422, str(error)
    if isinstance(error, XvlaError):
        return 500, f'Inference failed: {error}'
    log.error('request failed', exc_info=error)
    return 500, f'Inference failed: {type(error).__name__}'


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer any error as `{"error": reason}` with its status."""
    if isinstance(error, HTTPException):
        reason = f'{error.detail}: expected POST /act, WebSocket /act or GET /health'
        return JSONResponse({'error': reason}, error.status_code, headers=error.headers)
    status, reason = refusal(error)
    headers = {401: {'WWW-Authenticate': 'Bearer'}, 503: {'Retry-After': '1'}}.get(status)
    return JSONResponse({'error': reason}, status, headers=headers)


def create_app(service: Service) -> FastAPI:
    """Build the application for a service, which it closes at its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close)

    app = FastAPI(
        title='X-VLA policy', lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    for kind in (XvlaError, HTTPException, Exception):
        app.add_exception_handler(kind, refuse)
    add_http_routes(app, service)
    add_websocket_route(app, service)
    return app


def add_http_routes(app: FastAPI, service: Service) -> None:
    """Add GET /health, and POST /act with its old name /infer."""

    @app.get('/health')
    async def health(request: Request) -> dict[str, Any]:
        service.authorise(request.headers)
        return {'status': 'ok', **service.metadata()}

    @app.post('/act')
    @app.post('/infer')
    async def act(request: Request) -> Response:
        service.authorise(request.headers)
        body = await service.read_body(request)
        gone = asyncio.ensure_future(request.receive())
        try:
            answer = await service.act_json(body, gone)
        finally:
            gone.cancel()
        return Response(answer, media_type='application/json')


def add_websocket_route(app: FastAPI, service: Service) -> None:
    """Add WebSocket /act: a welcome, then one answer per message, in order."""

    @app.websocket('/act')
    async def act(socket: WebSocket) -> None:
        try:
            service.authorise(socket.headers)
        except RequestError as error:
            await socket.send_denial_response(JSONResponse({'error': str(error)}, error.status))
            return
        await socket.accept()
        welcome = {'type': 'welcome', 'ok': True, **service.metadata()}
        await socket.send_bytes(msgpack.packb(welcome, use_bin_type=True))
        await converse(socket, service)


async def converse(socket: WebSocket, service: Service) -> None:
    """Answer messages in order until the client disconnects."""
    pending = asyncio.ensure_future(socket.receive())
    try:
        while (message := await pending)['type'] != 'websocket.disconnect':
            pending = asyncio.ensure_future(socket.receive())
            # Text is no msgpack, and is told so.
            data = message.get('bytes') or (message.get('text') or '').encode()
            answer = await service.act_msgpack(data, pending)
            if not is_disconnect(pending):
                await socket.send_bytes(answer)
    finally:
        pending.cancel()
