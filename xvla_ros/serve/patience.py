# SPDX-License-Identifier: Apache-2.0
"""Closes connections that send no request, so that they cannot use up all connections."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

# How long a connection may take to send the headers of its next request [s].
HEADERS_S = 10.0


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol with a timeout before the first request, which uvicorn lacks."""

    _seen: Any = None
    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timeout for headers."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        """Stop the timeout."""
        if self._check:
            self._check.cancel()
        super().connection_lost(error)

    def _wait(self) -> None:
        self._seen = self.cycle
        self._check = self.loop.call_later(HEADERS_S, self._look)

    def _look(self) -> None:
        """Close a connection without a new request, unless one is being answered."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # a WebSocket now, which uvicorn pings
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy or self.cycle is not self._seen:
            self._wait()
        else:
            self.transport.close()
