# SPDX-License-Identifier: Apache-2.0
"""
Unit quaternions (x, y, z, w) as tuples of floats: scalar arithmetic for the control thread.

A single numpy operation costs more than any of these functions.
"""

import math

Quaternion = tuple[float, float, float, float]

# Below this angle [rad] the geodesic and the chord agree to double precision, and sin(angle)
# would divide by zero.
SMALL_ANGLE_RAD = 1e-6


def slerp(a: Quaternion, b: Quaternion, u: float) -> Quaternion:
    """Return the rotation a fraction `u` along the shorter geodesic; q and -q are the same."""
    dot = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
    sign = 1.0 if dot >= 0 else -1.0
    angle = math.acos(min(1.0, abs(dot)))
    if angle < SMALL_ANGLE_RAD:
        return _mix(a, b, 1 - u, sign * u)
    scale = 1 / math.sin(angle)
    return _mix(a, b, math.sin((1 - u) * angle) * scale, sign * math.sin(u * angle) * scale)


def _mix(a: Quaternion, b: Quaternion, wa: float, wb: float) -> Quaternion:
    """Return the normalised sum wa * a + wb * b."""
    return normalized(
        (
            wa * a[0] + wb * b[0],
            wa * a[1] + wb * b[1],
            wa * a[2] + wb * b[2],
            wa * a[3] + wb * b[3],
        )
    )


def normalized(q: Quaternion) -> Quaternion:
    """Return the quaternion scaled to length one."""
    scale = 1 / math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    return (q[0] * scale, q[1] * scale, q[2] * scale, q[3] * scale)


def product(a: Quaternion, b: Quaternion) -> Quaternion:
    """Return the rotation `b` followed by `a`."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return normalized(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        )
    )


def difference(a: Quaternion, b: Quaternion) -> tuple[float, float, float]:
    """Return the rotation vector [rad, base frame] that turns `a` into `b` the shorter way."""
    x, y, z, w = product(b, (-a[0], -a[1], -a[2], a[3]))
    if w < 0:
        x, y, z, w = -x, -y, -z, -w
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 2 * math.atan2(sine, w) / sine if sine > 1e-12 else 2.0
    return (x * scale, y * scale, z * scale)


def turned(q: Quaternion, vector: tuple[float, float, float]) -> Quaternion:
    """Return `q` turned by a rotation vector [rad, base frame]."""
    x, y, z = vector
    angle = math.sqrt(x * x + y * y + z * z)
    scale = math.sin(angle / 2) / angle if angle > 1e-12 else 0.5
    return product((x * scale, y * scale, z * scale, math.cos(angle / 2)), q)
