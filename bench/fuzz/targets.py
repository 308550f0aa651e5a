# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: each target takes broken input and may only refuse it with our own errors."""

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
import msgpack
import numpy as np

from bench.fuzz.mutations import broken
from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.message_types import typestore, write_message
from xvla_ros.bags.writer import BagWriter, Bounds, Channel
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import XvlaError
from xvla_ros.core.resources import shared_file
from xvla_ros.inputs.images import image_from_message
from xvla_ros.inputs.messages import joint_positions, pose_from_message
from xvla_ros.model.lora_settings import lora_settings
from xvla_ros.model.reading import read_config, read_header, read_json
from xvla_ros.serve.arrays import json_numpy_literal, msgpack_map
from xvla_ros.serve.protocol import parse_json, parse_msgpack
from xvla_ros.serve.requests import Contract, Limits
from xvla_ros.serve.transports import as_object, read_actions

STRING = 'std_msgs/msg/String'
CONTRACT = Contract(
    checkpoint='any',
    action_mode='ee6d',
    cameras=3,
    domains=30,
    dim_proprio=20,
    num_actions=30,
    dim_action=20,
    dim_noise=20,
)
LIMITS = Limits()


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One reader: what makes its inputs of numbers, or hypothesis' own, and what reads one."""

    name: str
    read: Callable[[Any], object]
    make: Callable[[int], bytes] | None = None
    drawn: st.SearchStrategy[Any] | None = None

    @property
    def inputs(self) -> st.SearchStrategy[Any]:
        """What draws an input."""
        return st.builds(self.make, st.integers(0, 2**32)) if self.make else self.drawn


def refused(read: Callable[[Any], object], value: Any) -> bool:
    """Read one input; tell whether it was refused. Anything but our own errors is raised."""
    try:
        read(value)
    except XvlaError:
        return True
    return False


def targets(folder: Path) -> tuple[Target, ...]:
    """Return all targets; their files are written below a folder."""
    return (
        _yaml(folder / 'robot.yaml'),
        _messages(),
        _file(folder / 'config.json', 'config.json', _configs(), lambda p: read_config(p.parent)),
        _file(folder / 'model.safetensors', 'checkpoint header', [_header()], read_header),
        _file(folder / 'adapter_config.json', 'adapter_config.json', _adapters(), _read_adapter),
        _bag(folder / 'bag'),
        Target(name='requests', make=broken(_requests()), read=_read_request),
        Target(name='answers', make=broken(_answers()), read=_read_answer),
    )


def _file(path: Path, name: str, seeds: list[bytes], read: Callable[[Path], object]) -> Target:
    def read_bytes(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return Target(name=name, make=broken(seeds), read=read_bytes)


def _yaml(path: Path) -> Target:
    files = sorted(shared_file('config', '').glob('*_sim.yaml'))
    return _file(path, 'embodiment file', [f.read_bytes() for f in files], load_embodiment)


def _configs() -> list[bytes]:
    return [(shared_file('resource', 'demo_policy') / 'config.json').read_bytes()]


def _header() -> bytes:
    header = {'w': {'dtype': 'F32', 'shape': [2, 2], 'data_offsets': [0, 16]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + bytes(16)


def _adapters() -> list[bytes]:
    settings = {
        'peft_type': 'LORA',
        'r': 8,
        'lora_alpha': 16,
        'target_modules': ['q_proj', 'v_proj'],
        'rank_pattern': {'q_proj': 4},
        'bias': 'none',
    }
    return [json.dumps(settings).encode()]


def _read_adapter(path: Path) -> object:
    return lora_settings(read_json(path), str(path), 'transformer.blocks.0.attn.q_proj')


def _messages() -> Target:
    number = st.floats(allow_nan=True, allow_infinity=True)
    encodings = ['rgb8', 'bgr8', 'mono8', 'rgba16', 'bayer_rggb8', 'yuv422', 'nv12', '8UC3', '']
    size = st.integers(0, 40)
    image = st.builds(
        SimpleNamespace,
        width=size,
        height=size,
        step=st.integers(0, 400),
        encoding=st.one_of(st.sampled_from(encodings), st.text(max_size=8)),
        is_bigendian=st.integers(0, 1),
        data=st.binary(max_size=4000),
    )
    compressed = st.builds(
        SimpleNamespace,
        format=st.text(max_size=8),
        data=st.builds(broken([_jpeg()]), st.integers(0, 2**32)),
    )
    joints = st.builds(
        SimpleNamespace,
        name=st.lists(st.sampled_from(['a', 'b', 'c', '']), max_size=5),
        position=st.lists(number, max_size=5),
    )
    pose = st.builds(
        _pose, st.tuples(number, number, number), st.tuples(number, number, number, number)
    )
    drawn = st.one_of(image, compressed, joints, pose)
    return Target(name='messages', drawn=drawn, read=_read_message)


def _pose(p: tuple[float, ...], q: tuple[float, ...]) -> SimpleNamespace:
    position = SimpleNamespace(**dict(zip('xyz', p, strict=True)))
    orientation = SimpleNamespace(**dict(zip('xyzw', q, strict=True)))
    header = SimpleNamespace(frame_id='')
    return SimpleNamespace(
        header=header, pose=SimpleNamespace(position=position, orientation=orientation)
    )


def _jpeg() -> bytes:
    from xvla_ros.serve.encoded_images import encode_jpeg

    return encode_jpeg(np.zeros((16, 16, 3), np.uint8), 'rgb', 90).tobytes()


def _read_message(message: Any) -> object:
    if hasattr(message, 'name'):
        return joint_positions(message, ['a', 'b'], 'joint_states')
    if hasattr(message, 'pose'):
        return pose_from_message(message, 'base', 'pose')
    image = image_from_message(message, 'camera')
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)
    return image


def _bag(folder: Path) -> Target:
    channels = {'/words': Channel(kind=STRING), '/task': Channel(kind=STRING, latched=True)}
    with BagWriter(folder, channels, Bounds()) as writer:
        for number in range(20):
            message = typestore().types[STRING](data=f'word {number}')
            topic = '/words' if number else '/task'
            writer.write(topic, 10**9 + number * 10**7, write_message(STRING, message))
    file = next(folder.glob('*.mcap'))
    for other in folder.iterdir():
        if other != file:
            other.unlink()  # the file is to be read alone, without metadata.yaml

    def read(path: Path) -> int:
        return sum(1 for _ in open_bag(path).messages())

    return _file(file, 'bag', [file.read_bytes()], read)


def _fields() -> dict[str, Any]:
    return {
        'proprio': np.zeros(20, np.float32),
        'language_instruction': 'pick up the red block',
        'domain_id': 0,
        'steps': 4,
        'image0': np.zeros((4, 4, 3), np.uint8),
    }


def _requests() -> list[bytes]:
    fields = _fields()
    arrays = {k: v for k, v in fields.items() if isinstance(v, np.ndarray)}
    plain = {k: v for k, v in fields.items() if k not in arrays}
    text = [f'{json.dumps(k)}: {json_numpy_literal(v)}' for k, v in arrays.items()]
    text += [f'{json.dumps(k)}: {json.dumps(v)}' for k, v in plain.items()]
    packed = {**plain, **{k: msgpack_map(v) for k, v in arrays.items()}}
    return [f'{{{", ".join(text)}}}'.encode(), msgpack.packb(packed, use_bin_type=True)]


def _read_request(data: bytes) -> None:
    if data[:1] == b'{':
        parse_json(data, CONTRACT, LIMITS)
    else:
        parse_msgpack(data, CONTRACT, LIMITS)


def _answers() -> list[bytes]:
    actions = np.zeros((30, 20), np.float32)
    return [
        json.dumps({'action': actions[:3].tolist()}).encode(),
        f'{{"action": {json_numpy_literal(actions)}}}'.encode(),
        b'{"error": "no"}',
    ]


def _read_answer(data: bytes) -> None:
    read_actions(as_object(data, 200, 'http://host'), 'http://host')
