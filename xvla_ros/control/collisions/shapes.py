# SPDX-License-Identifier: Apache-2.0
"""
Checks collisions: of one arm with itself, of two arms, and of the arms with scene boxes.

Shapes are the collision shapes of the URDFs (Pinocchio and Coal). Pairs of links of one arm that
may touch are in a file beside the URDF, in the SRDF format (`control/collisions/pairs.py` makes
it). Joints that no arm lists, such as fingers, stay at neutral, clipped to their limits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
import xml.etree.ElementTree as ElementTree

import coal
import numpy as np
from numpy.typing import NDArray
import pinocchio as pin

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.scene_settings import SceneBox
from xvla_ros.core.settings import ArmSettings

Vector = NDArray[np.float64]

# Links closer than this count as touching, because the shapes are simpler than the links.
CLEARANCE_M = 0.005
# Separates the arm's name from a link's in a model of two arms.
BETWEEN = '/'


class Collisions:
    """The collision shapes of all arms of an embodiment. One thread at a time."""

    def __init__(self, embodiment: Embodiment) -> None:
        """
        Read the URDFs and the files of allowed pairs.

        :raises ConfigError: one of them is missing or does not fit.
        """
        self._model, self._geometry = pin.Model(), pin.GeometryModel()
        self._arms = embodiment.arm_names
        allowed: set[frozenset[str]] = set()
        for name, arm in embodiment.arms.items():
            prefix = f'{name}{BETWEEN}' if len(embodiment.arms) > 1 else ''
            path = arm_file(name, arm)
            model, geometry = read_shapes(path, arm.joint_names, prefix)
            self._model, self._geometry = pin.appendModel(
                self._model, model, self._geometry, geometry, 0, _placement(arm)
            )
            allowed |= {frozenset(prefix + link for link in pair) for pair in read_allowed(path)}
        boxes = [self._add(name, box) for name, box in embodiment.scene.items()]
        self._scene = dict(zip(boxes, embodiment.scene, strict=True))
        for one, other in moving_pairs(self._geometry):
            if self.links(one, other) not in allowed:
                self._geometry.addCollisionPair(pin.CollisionPair(one, other))
        self._data, self._shapes = self._model.createData(), self._geometry.createData()
        for request in self._shapes.collisionRequests:
            request.security_margin = CLEARANCE_M
        # Most pairs are far apart: boxes around the shapes rule them out. With these few shapes,
        # comparing all boxes takes a twelfth to a half of what building a tree of them takes.
        self._boxes = pin.BroadPhaseManager_NaiveCollisionManager(
            self._model, self._geometry, self._shapes
        )

    @property
    def pairs(self) -> int:
        """How many pairs of shapes are compared."""
        return len(self._geometry.collisionPairs)

    def links(self, one: int, other: int) -> frozenset[str]:
        """Return the links that two shapes belong to."""
        return frozenset(self._link(index) for index in (one, other))

    def touching(self, q: Vector) -> str:
        """
        Return which two links touch, or which link touches a scene box; empty for none.

        :param q: joints of all arms, in order (N,) [rad].
        """
        model, data, geometry, shapes = self._model, self._data, self._geometry, self._shapes
        if not pin.computeCollisions(model, data, self._boxes, q, True):
            return ''
        pin.computeCollisions(model, data, geometry, shapes, q, True)
        found = [i for i, r in enumerate(shapes.collisionResults) if r.isCollision()]
        if not found:  # exactly at the distance that counts, where answers differ by a micrometre
            return ''
        pair = geometry.collisionPairs[found[0]]
        if pair.second in self._scene:
            return f"link '{self._link(pair.first)}' touches '{self._scene[pair.second]}'"
        return f"links '{self._link(pair.first)}' and '{self._link(pair.second)}' touch"

    def _link(self, index: int) -> str:
        shape = self._geometry.geometryObjects[index]
        return str(self._model.frames[shape.parentFrame].name)

    def _add(self, name: str, box: SceneBox) -> int:
        """Add a scene box; return its index."""
        low, high = np.array(box.min_m), np.array(box.max_m)
        shape = coal.Box(*(high - low))
        placement = pin.SE3(np.eye(3), (low + high) / 2)
        added = pin.GeometryObject(f'scene{BETWEEN}{name}', 0, 0, placement, shape)
        return int(self._geometry.addGeometryObject(added))


def arm_file(name: str, arm: ArmSettings) -> Path:
    """
    Return an arm's URDF file.

    :raises ConfigError: its URDF comes from a topic: allowed pairs are beside a file.
    """
    if arm.urdf_topic or '<robot' in arm.urdf:
        raise ConfigError(f"limits.check_collisions needs 'arms.{name}.urdf', a file, got a topic")
    return shared_file('resource', arm.urdf)


def read_shapes(
    path: Path, joint_names: Sequence[str], prefix: str = ''
) -> tuple[pin.Model, pin.GeometryModel]:
    """
    Return a URDF's model with only the listed joints free, and its collision shapes.

    :param prefix: put before the names of links and joints.
    """
    root = ElementTree.fromstring(path.read_text(encoding='utf-8'))
    for element in root.iter():
        for key in {'link': ('name',), 'joint': ('name',)}.get(element.tag, ('link',)):
            if element.get(key):
                element.set(key, prefix + element.get(key, ''))
        if element.tag == 'joint' and element.get('type') == 'continuous':
            element.set('type', 'revolute')
            limit = element.find('limit')
            assert limit is not None
            limit.set('lower', '-6.3')
            limit.set('upper', '6.3')
    text = ElementTree.tostring(root, 'unicode')
    model = pin.buildModelFromXML(text)
    geometry = pin.buildGeomFromUrdfString(model, text, pin.GeometryType.COLLISION)
    names = {prefix + name for name in joint_names}
    others = [i for i, name in enumerate(model.names) if i and name not in names]
    low, high = model.lowerPositionLimit, model.upperPositionLimit
    held = np.clip(pin.neutral(model), low, high)
    reduced: Any = pin.buildReducedModel(model, geometry, others, held)
    return reduced[0], reduced[1]


def moving_pairs(geometry: pin.GeometryModel) -> list[tuple[int, int]]:
    """Return the pairs of shapes that can move against each other."""
    joints = [shape.parentJoint for shape in geometry.geometryObjects]
    count = len(joints)
    return [(i, j) for i in range(count) for j in range(i + 1, count) if joints[i] != joints[j]]


def pairs_file(urdf: Path) -> Path:
    """Return the file of allowed pairs beside a URDF."""
    return urdf.with_suffix('.srdf')


def read_allowed(urdf: Path) -> set[frozenset[str]]:
    """
    Return the pairs of links of one arm that may touch, from the file beside its URDF.

    :raises ConfigError: there is none, or it cannot be read.
    """
    path = pairs_file(urdf)
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigError(
            f'{path}: cannot read the links that may touch: {error}; make the file with: '
            'python -m xvla_ros.control.collisions.pairs EMBODIMENT'
        ) from error
    return {
        frozenset((str(pair.get('link1')), str(pair.get('link2'))))
        for pair in root.iter('disable_collisions')
    }


def _placement(arm: ArmSettings) -> pin.SE3:
    """Return an arm's base in the world that all arms share."""
    x, y, z, yaw = arm.base_in_world
    return pin.SE3(pin.utils.rotate('z', yaw), np.array([x, y, z]))
