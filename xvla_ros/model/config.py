# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the network's geometry in `config.json`, in either published schema."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xvla_ros.core.chunk import FIRST_INDEX
from xvla_ros.core.errors import CheckpointError

# X-VLA's processor: 50 padded text tokens and 3 view slots (models/processing_xvla.py).
TEXT_LENGTH = 50
VIEW_SLOTS = 3
# Dropout of the head's attention and MLP while training (models/transformer.py).
HEAD_DROPOUT = 0.1
# What transformers takes where a vision config of its own names does not say.
FLORENCE_LENGTHS = {'max_position_embeddings': 50, 'max_temporal_embeddings': 100}


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """
    Geometry of one X-VLA network. All numbers come from the file.

    :param florence: the `florence_config` block of the file (Microsoft's or transformers').
    :param dim_proprio: length of the proprioceptive vector.
    :param text_length: number of tokens to which an instruction is padded or cut.
    :param view_slots: number of camera views in the sequence, the main view first.
    :param head_dropout: dropout of the head in training.
    :param schema: `2toinf` or `lerobot`, the schema of the file.
    :param first_anchor_index: periods from an observation to its first action: 1, in lerobot's
        schema 0 (its action_delta_indices begin at 0).
    """

    action_mode: str
    num_actions: int
    hidden_size: int
    depth: int
    num_heads: int
    mlp_ratio: float
    num_domains: int
    len_soft_prompts: int
    dim_time: int
    max_len_seq: int
    max_action_dim: int
    real_action_dim: int
    florence: Mapping[str, Any]
    use_hetero_proj: bool = False
    dim_proprio: int | None = None
    text_length: int = TEXT_LENGTH
    view_slots: int = VIEW_SLOTS
    head_dropout: float = HEAD_DROPOUT
    schema: str = '2toinf'
    first_anchor_index: int = FIRST_INDEX
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse counts below one, and widths that do not fit each other."""
        for name in (
            'num_actions',
            'hidden_size',
            'depth',
            'num_heads',
            'num_domains',
            'dim_time',
            'text_length',
            'view_slots',
        ):
            if getattr(self, name) < 1:
                raise CheckpointError(f'config: {name} is {getattr(self, name)}, expected >= 1')
        if self.hidden_size % self.num_heads:
            raise CheckpointError(
                f'config: hidden_size {self.hidden_size} is not a multiple of '
                f'num_heads {self.num_heads}'
            )
        if self.first_anchor_index not in (0, 1):
            raise CheckpointError(
                f'config: first_anchor_index is {self.first_anchor_index}, expected 0 or 1'
            )
        if self.real_action_dim > self.max_action_dim:
            raise CheckpointError(
                f'config: real_action_dim {self.real_action_dim} is more than '
                f'max_action_dim {self.max_action_dim}'
            )


# This project's own block of `config.json`.
OURS = ('text_length', 'view_slots', 'head_dropout', 'dim_proprio', 'first_anchor_index')
# Lists of the authors' v2 branch. If they are not empty, actions and state differ from v1's.
V2_LISTS = ('idx_for_delta', 'idx_for_mask_proprio')
GEOMETRY = (
    'hidden_size',
    'depth',
    'num_heads',
    'mlp_ratio',
    'num_domains',
    'len_soft_prompts',
    'dim_time',
    'max_len_seq',
    'action_mode',
)


def parse_config(data: Mapping[str, Any], source: str = 'config.json') -> NetworkConfig:
    """
    Read a parsed `config.json` in the authors' or in lerobot's schema.

    :param source: where the data came from, for messages.
    :raises CheckpointError: a key the network's shape depends on is missing or has a wrong type.
    """
    if not isinstance(data, Mapping):
        raise CheckpointError(f'{source}: expected a JSON object, got {type(data).__name__}')
    lerobot = 'chunk_size' in data and 'num_actions' not in data
    length = 'chunk_size' if lerobot else 'num_actions'
    missing = [key for key in (*GEOMETRY, length, 'florence_config') if key not in data]
    if missing:
        raise CheckpointError(f'{source}: {", ".join(missing)} missing; the shape needs it')
    _refuse_unsupported(data, source)
    schema = _lerobot_part(data, source) if lerobot else _authors_part(data)
    values = {key: data[key] for key in GEOMETRY} | schema
    values['first_anchor_index'] = 0 if lerobot else FIRST_INDEX
    values |= _our_part(data, source)
    values |= {'num_actions': data[length], 'florence': data['florence_config']}
    values['use_hetero_proj'] = bool(data.get('use_hetero_proj', False))
    values['action_mode'] = str(values['action_mode']).lower()
    kept = ('use_proprio', 'resize_imgs_with_padding', 'tokenizer_name', 'normalization_mapping')
    values['extra'] = {key: data[key] for key in kept if data.get(key) is not None}
    _check_types(values, source)
    return NetworkConfig(**values, schema='lerobot' if lerobot else '2toinf')


def _refuse_unsupported(data: Mapping[str, Any], source: str) -> None:
    """Refuse settings that would change the meaning of the numbers."""
    mapping = data.get('normalization_mapping') or {}
    for kind, how in mapping.items():
        if how != 'IDENTITY' and kind not in ('STATE', 'ACTION'):
            raise CheckpointError(
                f'{source}: normalization_mapping.{kind} is {how!r}, expected IDENTITY: '
                'statistics are applied to STATE and ACTION only'
            )
    for key in V2_LISTS:
        if data.get(key):
            raise CheckpointError(
                f"{source}: {key} is {data[key]!r}, expected none: the v2 branch's are not known"
            )


def _our_part(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Read this project's optional `xvla_ros` block."""
    ours = data.get('xvla_ros', {})
    unknown = sorted(set(ours) - set(OURS)) if isinstance(ours, Mapping) else ['']
    if unknown:
        raise CheckpointError(f'{source}: unknown xvla_ros.{unknown[0]}; known: {", ".join(OURS)}')
    return dict(ours)


def _authors_part(data: Mapping[str, Any]) -> dict[str, Any]:
    """Read the keys that only the 2toINF schema has."""
    width = data.get('max_action_dim', 20)
    return {
        'max_action_dim': width,
        'real_action_dim': data.get('real_action_dim', width),
    }


def _lerobot_part(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Read lerobot's keys for state length, text length and views."""
    for key in ('max_state_dim', 'max_action_dim', 'tokenizer_max_length'):
        if key not in data:
            raise CheckpointError(f'{source} (lerobot schema): {key} missing')
    action = (data.get('output_features') or {}).get('action') or {}
    real = (action.get('shape') or [data['max_action_dim']])[0]
    return {
        'max_action_dim': data['max_action_dim'],
        'real_action_dim': real,
        # lerobot leaves the state out altogether when told so; the authors' code never reads it.
        'dim_proprio': data['max_state_dim'] if data.get('use_proprio', True) else 0,
        'text_length': data['tokenizer_max_length'],
        'view_slots': _lerobot_views(data) or VIEW_SLOTS,
    }


def _lerobot_views(data: Mapping[str, Any]) -> int:
    """
    Return the number of views that lerobot trained with: cameras and empty slots.

    lerobot sets `num_image_views` to cameras + `empty_cameras`, and then adds a feature
    `empty_camera_N` for each empty one (policies/xvla/configuration_xvla.py). It saves all three,
    so the added features must not be counted again.
    """
    features = data.get('input_features') or {}
    visual = [name for name, f in features.items() if f.get('type') == 'VISUAL']
    added = sum('.empty_camera_' in name for name in visual)
    empty = max(data.get('empty_cameras') or 0, added)
    return max(data.get('num_image_views') or 0, len(visual) - added + empty)


def _check_types(values: Mapping[str, Any], source: str) -> None:
    """Refuse a geometry value that should be a number and is not."""
    words = {'action_mode', 'florence', 'extra', 'use_hetero_proj'}
    reals = {'mlp_ratio', 'head_dropout'}
    for key, value in values.items():
        expected = (int, float) if key in reals else int
        if key not in words and (isinstance(value, bool) or not isinstance(value, expected)):
            raise CheckpointError(f'{source}: {key} is {value!r}, expected a number')
    if not isinstance(values['florence'], Mapping):
        raise CheckpointError(f'{source}: florence_config is not an object')


def authors_json(config: NetworkConfig) -> dict[str, Any]:
    """Write a config in the authors' schema; values that differ from X-VLA go to `xvla_ros`."""
    data = {key: getattr(config, key) for key in GEOMETRY}
    data |= {
        'model_type': 'xvla',
        'architectures': ['XVLA'],
        'num_actions': config.num_actions,
        'use_hetero_proj': config.use_hetero_proj,
        'max_action_dim': config.max_action_dim,
        'real_action_dim': config.real_action_dim,
        'florence_config': florence_json(config.florence),
        **config.extra,
    }
    usual = {'text_length': TEXT_LENGTH, 'view_slots': VIEW_SLOTS, 'head_dropout': HEAD_DROPOUT}
    usual['first_anchor_index'] = FIRST_INDEX
    ours = {k: getattr(config, k) for k, v in usual.items() if getattr(config, k) != v}
    if config.dim_proprio is not None:
        ours['dim_proprio'] = config.dim_proprio
    return data | ({'xvla_ros': ours} if ours else {})


def florence_json(florence: Mapping[str, Any]) -> dict[str, Any]:
    """
    Add Microsoft's names to the vision config of a network that has transformers' names.

    The authors' code and lerobot 0.4 read `dim_embed` and the two blocks of embeddings.
    """
    vision = florence['vision_config']
    if 'dim_embed' in vision:
        return dict(florence)
    lengths = 'max_position_embeddings', 'max_temporal_embeddings'
    places, times = (vision.get(name, FLORENCE_LENGTHS[name]) for name in lengths)
    microsoft = {
        'dim_embed': vision['embed_dim'],
        'image_pos_embed': {'type': 'learned_abs_2d', 'max_pos_embeddings': places},
        'visual_temporal_embedding': {'type': 'COSINE', 'max_temporal_embeddings': times},
        'image_feature_source': ['spatial_avg_pool', 'temporal_avg_pool'],
    }
    above = {'projection_dim': vision['projection_dim']}
    return {**above, **florence, 'vision_config': {**vision, **microsoft}}
