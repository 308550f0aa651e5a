# SPDX-License-Identifier: Apache-2.0
"""The quick answer to whether links touch is that of all pairs of shapes."""

from counts import FULL
from joint_robots import joint_robot, ROBOTS
import numpy as np
import pinocchio as pin
import pytest

from xvla_ros.control.collisions.shapes import CLEARANCE_M

POSTURES = 10_000 if FULL else 500
TOLERANCE_M = 2e-6  # twice that of Coal's solver


def all_pairs_touch(shapes, q):
    """Tell whether links touch, every pair of shapes compared."""
    model, geometry = shapes._model, shapes._geometry
    return pin.computeCollisions(model, shapes._data, geometry, shapes._shapes, q, True)


@pytest.mark.parametrize('name', ROBOTS)
def test_no_posture_is_judged_otherwise_than_by_all_pairs(name):
    robot, rng = joint_robot(name), np.random.default_rng(11)
    bounds, shapes = robot.model.bounds, robot.model._collisions
    touching = 0
    for _ in range(POSTURES):
        goal = rng.uniform(bounds.lower, bounds.upper)
        q = robot.home + rng.uniform(0.2, 1.0) * (goal - robot.home)
        links = shapes.touching(q)
        assert bool(links) == all_pairs_touch(shapes, q), q
        touching += bool(links)
    assert 0 < touching < POSTURES


def nearest_m(shapes, q):
    """Return the distance of the two nearest shapes that may not touch [m]."""
    model, data, geometry = shapes._model, shapes._data, shapes._geometry
    pin.updateGeometryPlacements(model, data, geometry, shapes._shapes, q)
    pairs = range(len(geometry.collisionPairs))
    return min(pin.computeDistance(geometry, shapes._shapes, i).min_distance for i in pairs)


@pytest.mark.parametrize('name', ROBOTS)
def test_links_count_as_touching_from_the_distance_that_counts(name):
    """Closer to it than the solver's tolerance one posture is judged differently at times."""
    robot, rng = joint_robot(name), np.random.default_rng(12)
    bounds, shapes = robot.model.bounds, robot.model._collisions
    for _ in range(POSTURES // 50):
        goal = rng.uniform(bounds.lower, bounds.upper)
        while not shapes.touching(goal):
            goal = rng.uniform(bounds.lower, bounds.upper)
        clear, touches = robot.home, goal
        while np.abs(touches - clear).max() > 1e-7:
            middle = (clear + touches) / 2
            found = [bool(shapes.touching(middle)) for _ in range(4)]
            if (far_m := abs(nearest_m(shapes, middle) - CLEARANCE_M)) > TOLERANCE_M:
                assert len(set(found)) == 1, (middle, far_m)
            clear, touches = (clear, middle) if found[0] else (middle, touches)
        assert abs(nearest_m(shapes, clear) - CLEARANCE_M) < 2 * TOLERANCE_M
