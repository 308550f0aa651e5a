# SPDX-License-Identifier: Apache-2.0
"""The topics of an embodiment, and their names in a bag."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
POSE, JOINTS = 'geometry_msgs/msg/PoseStamped', 'sensor_msgs/msg/JointState'
STRING, BOOL = 'std_msgs/msg/String', 'std_msgs/msg/Bool'
TF = 'tf2_msgs/msg/TFMessage'
# Suffix that image_transport and this package's recorder add to the name of a raw camera topic.
SUFFIX = '/compressed'
TARGET, CHUNK, STATUS, TASK = (
    'policy_node/target', 'policy_node/action_chunk', 'policy_node/status', 'policy_node/task',
)  # fmt: skip
CONTROLLER_STATUS = 'controller_node/status'
INSTRUCTION = 'instruction'
CHUNK_KIND = 'xvla_ros/msg/ActionChunk'
# What should be done from each frame on, where that was written down while demonstrating: an
# ActionChunk with the stamp of the frame, before the frame.
PLAN = 'expert/plan'


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """
    One topic and its purpose.

    sensor: published best effort. latched: transient local, so late subscribers get the last one.
    """

    topic: str
    kind: str
    role: str
    sensor: bool = False
    latched: bool = False


def observation_streams(embodiment: Embodiment) -> tuple[Stream, ...]:
    """Return the topics of an observation, each once."""
    return _once(_observation(embodiment))


def _observation(embodiment: Embodiment) -> Iterator[Stream]:
    for name, camera in embodiment.cameras.items():
        kind = COMPRESSED if camera.compressed else IMAGE
        yield Stream(topic=camera.topic, kind=kind, role=f'camera {name}', sensor=True)
    for name, arm in embodiment.arms.items():
        if arm.pose_source == 'pose':
            yield Stream(topic=arm.pose_topic, kind=POSE, role=f'arm {name}', sensor=True)
        elif arm.pose_source == 'joints':
            yield Stream(
                topic=arm.joint_states_topic, kind=JOINTS, role=f'arm {name}', sensor=True
            )
        else:
            yield Stream(topic='/tf', kind=TF, role=f'arm {name}')
            yield Stream(topic='/tf_static', kind=TF, role=f'arm {name}', latched=True)
        fingers = arm.gripper.joint_states_topic or arm.joint_states_topic
        yield Stream(topic=fingers, kind=JOINTS, role=f'gripper {name}', sensor=True)


def description_streams(embodiment: Embodiment) -> tuple[Stream, ...]:
    """Return the topics of robot descriptions, each once."""
    return _once(
        Stream(topic=arm.urdf_topic, kind=STRING, role=f'urdf {name}', latched=True)
        for name, arm in embodiment.arms.items()
        if arm.urdf_topic
    )


def recorded_streams(embodiment: Embodiment) -> tuple[Stream, ...]:
    """Return the topics of a recording: observation, joints, policy, controller, e-stop."""
    joints = (
        Stream(topic=arm.joint_states_topic, kind=JOINTS, role=f'joints {name}', sensor=True)
        for name, arm in embodiment.arms.items()
    )
    policy = (
        Stream(topic=TASK, kind=STRING, role='task', latched=True),
        Stream(topic=INSTRUCTION, kind=STRING, role='instruction', latched=True),
        Stream(topic=STATUS, kind='xvla_ros/msg/PolicyStatus', role='status', latched=True),
        Stream(topic=CHUNK, kind=CHUNK_KIND, role='chunks'),
        Stream(topic=TARGET, kind='xvla_ros/msg/EndEffectorCommand', role='targets'),
        Stream(
            topic=CONTROLLER_STATUS,
            kind='xvla_ros/msg/ControllerStatus',
            role='controller',
            latched=True,
        ),
    )
    estop = embodiment.control.estop_topic
    stops = (Stream(topic=estop, kind=BOOL, role='e-stop'),) if estop else ()
    described = description_streams(embodiment)
    return _once((*_observation(embodiment), *described, *joints, *policy, *stops))


def _once(streams: Iterable[Stream]) -> tuple[Stream, ...]:
    first: dict[str, Stream] = {}
    for stream in streams:
        first.setdefault(stream.topic, stream)
    return tuple(first.values())


def recorded_name(topic: str, names: Iterable[str]) -> str | None:
    """
    Return the bag's name of a topic: the same name, or the only one with this ending.

    A bag has absolute names. An embodiment mostly has relative ones, so any namespace fits.
    """
    wanted = '/' + topic.lstrip('/')
    known = list(names)
    for exact in (topic, wanted):
        if exact in known:
            return exact
    endings = ends_in(topic, known)
    return endings[0] if len(endings) == 1 else None


def ends_in(topic: str, names: Iterable[str]) -> list[str]:
    """Return the names with a topic's name as ending: the same topic in some namespace."""
    wanted = '/' + topic.lstrip('/')
    return [name for name in names if name.endswith(wanted)]


def why_missing(topic: str, names: Iterable[str]) -> str:
    """Return why `recorded_name` finds none: no name has this ending, or several have."""
    endings = ends_in(topic, names)
    if len(endings) > 1:
        return f"several topics end in '{topic}': {', '.join(sorted(endings))}; which one?"
    return f"no topic '{topic}'"


def as_recorded(embodiment: Embodiment, names: Iterable[str]) -> Embodiment:
    """Return the embodiment with the compressed topic for each camera without a raw one."""
    known = list(names)
    cameras = {}
    for name, camera in embodiment.cameras.items():
        packed = camera.topic + SUFFIX
        if recorded_name(camera.topic, known) is None and recorded_name(packed, known):
            camera = replace(camera, topic=packed, compressed=True)
        cameras[name] = camera
    return replace(embodiment, cameras=cameras)


def match_streams(
    streams: Iterable[Stream], kinds: Mapping[str, str], source: str
) -> tuple[dict[str, str], list[str]]:
    """
    Return the bag's name of each stream's topic, and a sentence for each missing stream.

    :param kinds: message type of each topic in the bag.
    :raises ObservationError: a topic has another type than in the embodiment.
    """
    found, missing = {}, []
    for stream in streams:
        name = recorded_name(stream.topic, kinds)
        if name is None:
            missing.append(f'{stream.role}: {why_missing(stream.topic, kinds)} ({stream.kind})')
        elif kinds[name] != stream.kind:
            raise ObservationError(
                f"{source}: topic '{name}' holds {kinds[name]}, "
                f'the embodiment expects {stream.kind} for {stream.role}'
            )
        else:
            found[stream.topic] = name
    return found, missing
