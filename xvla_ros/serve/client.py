# SPDX-License-Identifier: Apache-2.0
"""A client for a policy on a server, with the same call as a local policy."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from threading import Lock, Thread
import time
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.errors import InferenceError
from xvla_ros.core.warm_start import WarmStart
from xvla_ros.serve.encoded_images import encode_jpeg
from xvla_ros.serve.fields import array_fields, deadline_fields, pair, start_fields
from xvla_ros.serve.transports import open_transport, Transport

T = TypeVar('T')
# Fields of /health that identify a model.
MODEL_FACTS = ('checkpoint', 'action_mode', 'domains', 'dim_proprio', 'num_actions', 'dim_action')


class RemotePredictor:
    """
    A policy on a server with X-VLA's wire protocol. One request at a time, from any thread.

    Works also with the authors' servers. They do not know `noise`, `prefix` and `tolerance`, which
    are then left out: see `supports_prefix`, and `left_out` after a call. They do not know
    `warm_start` either; with it the call is an error.

    :param url: `http://host:port` speaks v1, `ws://host:port` v2.
    :param token: bearer token, for servers that require one.
    :param timeout_s: longest duration of a call, with the connection.
    :param num_views: views in each request; compared with the server's, if known.
    :param jpeg_quality: send views as JPEG of this quality instead of raw, for slow networks. The
        policy then gets slightly different images.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = 5.0,
        num_views: int | None = None,
        jpeg_quality: int | None = None,
    ) -> None:
        self.timeout_s, self.num_views, self.jpeg_quality = timeout_s, num_views, jpeg_quality
        self.metadata: Mapping[str, Any] | None = None
        self.left_out: tuple[str, ...] = ()
        self._transport: Transport = open_transport(url, token)
        self._connected = False
        self._one_caller = Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name='policy server', daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._transport.url

    @property
    def supports_prefix(self) -> bool:
        """Whether the server can continue committed steps; False before `connect`."""
        return 'prefix' in self._extensions

    @property
    def supports_noise(self) -> bool:
        """Whether the server accepts the sampling noise; False before `connect`."""
        return 'noise' in self._extensions

    @property
    def _extensions(self) -> Sequence[str]:
        return self._listed('extensions') or ()

    def _listed(self, name: str) -> Sequence[str] | None:
        """Return a list in the server's metadata."""
        value = (self.metadata or {}).get(name)
        return value if isinstance(value, list) else None

    def connect(self) -> None:
        """
        Connect and read the server's metadata; `predict` does it if needed.

        :raises InferenceError: no answer in time, or the server has too few view slots.
        """
        self._connect(time.monotonic() + self.timeout_s)

    def _connect(self, deadline_s: float) -> None:
        told = self._wait(self._transport.handshake(), deadline_s)
        self._check_same(told)
        self.metadata = told
        cameras = self._listed('cameras')
        if cameras is not None and self.num_views is not None and self.num_views > len(cameras):
            raise InferenceError(
                f'{self.url}: has {len(cameras)} view slots, {self.num_views} views are configured'
            )
        self._connected = True

    def _check_same(self, told: Mapping[str, Any] | None) -> None:
        """Refuse a server with another model than at the first connection."""
        if self.metadata is None or told is None:
            return
        changed = [k for k in MODEL_FACTS if told.get(k) != self.metadata.get(k)]
        if changed:
            raise InferenceError(
                f'{self.url}: the server serves another model than before: {changed[0]} is '
                f'{told.get(changed[0])!r}, was {self.metadata.get(changed[0])!r}',
                code='server_changed',
            )

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        proprio: NDArray[Any],
        instruction: str,
        domain_id: int,
        steps: int = 10,
        noise: NDArray[Any] | None = None,
        prefix: NDArray[Any] | None = None,
        tolerance: Any = None,
        warm_start: WarmStart | None = None,
        slack_s: float | None = None,
        least_steps: int | None = None,
    ) -> NDArray[np.float32]:
        """
        Request one chunk; the other arguments are those of `Policy.predict`.

        :param slack_s: remaining time of the robot's plan [s]; the server answers the shortest
            first. :param least_steps: fewest denoising steps that it may spend on an answer that
            would come after that; None: always `steps`.

        :return: (num_actions, dim) float32.
        :raises InferenceError: no answer in time, a refusal, or an answer that is no chunk.
        """
        deadline_s = time.monotonic() + self.timeout_s
        payload = self._payload(images, proprio, instruction, domain_id, steps)
        wanted = array_fields(noise=noise, prefix=prefix, tolerance=pair(tolerance))
        wanted |= start_fields(warm_start) | deadline_fields(slack_s, least_steps)
        with self._one_request():
            return self._ask(payload, wanted, deadline_s)

    @contextmanager
    def _one_request(self) -> Iterator[None]:
        """
        Keep other callers out; after an error the next request connects anew.

        :raises InferenceError: another request took too long.
        """
        if not self._one_caller.acquire(timeout=self.timeout_s):
            raise InferenceError(
                f'{self.url}: another request took {self.timeout_s:g} s', code='server_slow'
            )
        try:
            yield
        except InferenceError:
            self._connected = False  # another server may come up in its place
            raise
        finally:
            self._one_caller.release()

    def _ask(
        self, payload: dict[str, Any], wanted: dict[str, Any], deadline_s: float
    ) -> NDArray[np.float32]:
        """Send a request with those of the wanted extras that the server knows."""
        if not self._connected:
            self._connect(deadline_s)
        self.left_out = tuple(name for name in wanted if name not in self._extensions)
        if 'warm_start_time' in self.left_out:  # its few steps would be taken from noise instead
            raise InferenceError(
                f'{self.url}: the server cannot start from a plan, '
                "expected 'warm_start_time' among its extensions",
                code='server_lacks',
            )
        extras = {name: v for name, v in wanted.items() if name not in self.left_out}
        return self._checked(self._wait(self._transport.ask(payload | extras), deadline_s))

    def _payload(
        self,
        images: Sequence[NDArray[np.uint8]],
        proprio: NDArray[Any],
        instruction: str,
        domain_id: int,
        steps: int,
    ) -> dict[str, Any]:
        """Return the fields of the request with the protocol's names."""
        if self.num_views is not None and len(images) != self.num_views:
            raise InferenceError(f'{self.url}: got {len(images)} views, expected {self.num_views}')
        payload = {
            'proprio': np.asarray(proprio, np.float32),
            'language_instruction': instruction,
            'domain_id': int(domain_id),
            'steps': int(steps),
        }
        return payload | {f'image{i}': self._view(image) for i, image in enumerate(images)}

    def _view(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a view as sent: raw, or encoded in the colour order of this protocol version."""
        if self.jpeg_quality is None:
            return image
        return encode_jpeg(image, self._transport.color_order, self.jpeg_quality)

    def _checked(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """Refuse a chunk whose shape differs from the announced one."""
        told = self.metadata or {}
        expected = (told.get('num_actions'), told.get('dim_action'))
        if None not in expected and actions.shape != expected:
            raise InferenceError(
                f'{self.url}: actions have shape {actions.shape}, the server announced {expected}',
                code='answer_shape',
            )
        return actions

    def _wait(self, work: Coroutine[Any, Any, T], deadline_s: float) -> T:
        """Run a coroutine on the loop's thread until a deadline, then cancel it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(max(0.0, deadline_s - time.monotonic()))
        except FutureTimeout:
            future.cancel()
            raise InferenceError(
                f'{self.url}: no answer within {self.timeout_s:g} s, expected an X-VLA server',
                code='server_slow',
            ) from None

    def close(self) -> None:
        """Close the connection and end the thread."""
        if self._thread.is_alive():
            closing = asyncio.run_coroutine_threadsafe(self._transport.close(), self._loop)
            closing.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
            self._thread.join(self.timeout_s)

    def __enter__(self) -> 'RemotePredictor':
        """Return the predictor itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()
