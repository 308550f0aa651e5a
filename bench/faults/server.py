# SPDX-License-Identifier: Apache-2.0
"""Servers of X-VLA's wire protocol that lead an arm along a circle, and can be broken."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import math
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.serve.arrays import json_numpy_literal, read_array
from xvla_ros.serve.requests import Limits

RADIUS_M, SPEED_M_S, ANCHORS, ANCHOR_S = 0.04, 0.05, 30, 0.1
LAYOUT = 'interleaved'
FACTS = {
    'status': 'ok',
    'checkpoint': 'circle',
    'action_mode': 'ee6d',
    'domains': [0],
    'cameras': ['image0', 'image1', 'image2'],
    'dim_proprio': 20,
    'num_actions': ANCHORS,
    'dim_action': 20,
    'dim_noise': 20,
    'extensions': ['noise', 'prefix'],
}
# Of the SO-101: two of its joints move on a circle; degrees, and the gripper half open.
JOINT_RADIUS_DEG, JOINT_SPEED_DEG_S, JOINT_ANCHOR_S = 14.0, 11.0, 0.0333
JOINT_FACTS = {
    **{'checkpoint': 'joint circle', 'action_mode': 'auto', 'first_anchor_index': 0},
    **{'dim_proprio': 6, 'dim_action': 6, 'dim_noise': 6},
}
CIRCLING = (0, 4)  # shoulder_pan and wrist_roll: the tool turns about the base
Reply = Callable[['Handler', NDArray[np.float64]], None]


def circle(proprio: NDArray[Any], home: ArmPose) -> NDArray[np.float64]:
    """Return a chunk (30, 20) from where the arm is along a circle through its home pose."""
    centre = home.position + np.array([0.0, RADIUS_M, 0.0])
    _, y, z = np.asarray(proprio[:3], np.float64) - centre
    angle = math.atan2(z, y)
    rows = []
    for i in range(1, ANCHORS + 1):
        turned = angle + SPEED_M_S * ANCHOR_S * i / RADIUS_M
        offset = np.array([0.0, math.cos(turned), math.sin(turned)]) * RADIUS_M
        pose = ArmPose(position=centre + offset, quaternion=home.quaternion, gripper=0.0)
        rows.append(pack([pose], LAYOUT))
    return np.array(rows)


def joint_circle(proprio: NDArray[Any], home_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a chunk (30, 6) of joints [deg] from where the arm is along a circle about home."""
    home, columns = np.degrees(home_rad), list(CIRCLING)
    x, y = np.asarray(proprio, np.float64)[columns] - home[columns]
    angle, radius = math.atan2(y, x), math.hypot(x, y)
    rows = np.tile([*home, 50.0], (ANCHORS, 1))
    for i in range(ANCHORS):
        along = JOINT_SPEED_DEG_S * JOINT_ANCHOR_S * i
        reach = radius + np.clip(JOINT_RADIUS_DEG - radius, -along, along)
        turned = angle + along / JOINT_RADIUS_DEG
        rows[i, columns] += reach * np.array([math.cos(turned), math.sin(turned)])
    return rows


class Handler(BaseHTTPRequestHandler):
    """Answers one request as the server is told to."""

    protocol_version = 'HTTP/1.1'
    server: 'CircleServer'

    def do_GET(self) -> None:
        """Say what is served."""
        self.send(json.dumps({**self.server.served, **self.server.facts}).encode())

    def do_POST(self) -> None:
        """Answer with the circle, or as `reply` says."""
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        actions = self.server.plan(read_array(body['proprio'], 'proprio', Limits()))
        if self.server.reply:
            self.server.reply(self, actions)
        else:
            self.answer(actions)

    def answer(self, actions: NDArray[Any]) -> None:
        """Send a chunk."""
        self.send(f'{{"action": {json_numpy_literal(actions)}}}'.encode())

    def send(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header('Content-Length', str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection."""
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class CircleServer(ThreadingHTTPServer):
    """Serves until `close`; `reply` and `facts` break it, `down` has it refuse connections."""

    daemon_threads = True
    served = FACTS

    def __init__(self, home: ArmPose) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.home = home
        self.facts: dict[str, Any] = {}
        self.reply: Reply | None = None
        self.down = Event()
        Thread(target=self.serve_forever, daemon=True).start()

    def plan(self, proprio: NDArray[Any]) -> NDArray[np.float64]:
        """Return the chunk for a measured state."""
        return circle(proprio, self.home)

    @property
    def url(self) -> str:
        """Where it is."""
        return f'http://127.0.0.1:{self.server_address[1]}'

    def process_request(self, request: Any, client: Any) -> None:
        """Drop connections while it is down."""
        if self.down.is_set():
            self.shutdown_request(request)
        else:
            super().process_request(request, client)

    def handle_error(self, *_: object) -> None:
        """Say nothing: connections are broken on purpose."""

    def heal(self) -> None:
        """Answer as it should."""
        self.facts, self.reply = {}, None
        self.down.clear()


class JointCircleServer(CircleServer):
    """The same for a robot that is driven by its joints."""

    served = FACTS | JOINT_FACTS

    def plan(self, proprio: NDArray[Any]) -> NDArray[np.float64]:
        """Return the chunk for measured joints [deg]."""
        return joint_circle(proprio, self.home.joints)
