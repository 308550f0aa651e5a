# SPDX-License-Identifier: Apache-2.0
"""
The settings of a LoRA adapter (PEFT's `adapter_config.json`), read with an allow-list.

A setting is used, or known not to affect the merged weights, or refused if it is not empty.
Names and meanings are those of PEFT's `LoraConfig`, version 0.21.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math
import re
from typing import Any

from xvla_ros.core.errors import CheckpointError

# Settings that the merge uses.
USED = (
    'alpha_pattern',
    'bias',
    'init_lora_weights',
    'lora_alpha',
    'lora_bias',
    'peft_type',
    'r',
    'rank_pattern',
    'use_rslora',
)
# Settings about training or names, which do not affect the update. The *_config of an
# initialisation has an effect only through `init_lora_weights`.
IRRELEVANT = (
    'auto_mapping',
    'base_model_name_or_path',
    'corda_config',
    'ensure_weight_tying',
    'eva_config',
    'exclude_modules',
    'inference_mode',
    'layers_pattern',
    'layers_to_transform',
    'loftq_config',
    'lora_dropout',
    'lora_ga_config',
    'megatron_config',
    'megatron_core',
    'modules_to_save',
    'peft_version',
    'qalora_group_size',
    'revision',
    'runtime_config',
    'target_modules',
    'task_type',
)
# The effects of refused settings, for the message.
EFFECTS = {
    'alora_invocation_tokens': 'switches the update on only after certain tokens',
    'fan_in_fan_out': 'stores the update transposed',
    'layer_replication': 'repeats layers of the base',
    'target_parameters': 'adapts parameters that are not layers',
    'trainable_token_indices': 'replaces rows of an embedding',
    'use_dora': 'rescales the rows of the weight',
    'use_qalora': 'pools the input of the layer',
}
# Initialisations that do not change the base weights. The others (PiSSA, OLoRA, CorDA, LoftQ,
# LoRA-GA, MiCA) subtract the initial update from the base, or fix half of the update.
PLAIN_INITIALISATIONS = (True, False, 'gaussian', 'eva', 'orthogonal')
BIASES = ('none', 'all', 'lora_only')


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings:
    """
    The scale of each layer's update.

    :param rank: rows of `lora_A`; `ranks`: the same for layers whose name matches a pattern.
    :param alpha: numerator of the scale; `alphas`: the same for layers that match a pattern.
    :param stabilised: divide by the square root of the rank (rsLoRA) instead of the rank.
    """

    rank: int
    alpha: float
    stabilised: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]

    def rank_of(self, layer: str) -> int:
        """Return the rank of a layer, by its name in the adapter."""
        return self.ranks.get(pattern_of(self.ranks, layer), self.rank)

    def scale_of(self, layer: str) -> float:
        """Return the factor of a layer's update."""
        alpha = self.alphas.get(pattern_of(self.alphas, layer), self.alpha)
        rank = self.rank_of(layer)
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def pattern_of(patterns: Mapping[str, Any], layer: str) -> str:
    """Return the first pattern that matches the end of a layer's name, as PEFT does, or ''."""
    return next((p for p in patterns if re.match(rf'(.*\.)?({p})$', layer)), '')


def lora_settings(data: Mapping[str, Any], source: str, layers: str) -> LoraSettings:
    """
    Read a parsed `adapter_config.json`.

    :param source: the file, for messages. :param layers: the adapted layers, for messages.
    :raises CheckpointError: a setting is malformed, or changes the meaning of an update.
    """
    check_kind(data, source)
    for key in sorted(set(data) - {*USED, *IRRELEVANT}):
        if data[key]:
            effect = EFFECTS.get(key, 'is not a setting that can be merged here')
            raise CheckpointError(
                f'{source}: {key} is {data[key]!r}, expected none: it {effect} ({layers})'
            )
    check_start(data, source, layers)
    return LoraSettings(
        rank=whole(data.get('r'), f'{source}: r'),
        alpha=positive(data.get('lora_alpha'), f'{source}: lora_alpha'),
        stabilised=bool(data.get('use_rslora')),
        ranks={p: whole(v, f'{source}: {p}') for p, v in patterns(data, 'rank_pattern', source)},
        alphas={
            p: positive(v, f'{source}: {p}') for p, v in patterns(data, 'alpha_pattern', source)
        },
    )


def check_kind(data: Mapping[str, Any], source: str) -> None:
    """Refuse adapters that are not LoRA, and unknown kinds of biases."""
    kind, bias = data.get('peft_type', 'LORA'), data.get('bias', 'none')
    if kind != 'LORA':
        raise CheckpointError(f"{source}: peft_type is {kind!r}, expected 'LORA'")
    if bias not in BIASES:
        raise CheckpointError(f'{source}: bias is {bias!r}, expected one of {", ".join(BIASES)}')


def check_start(data: Mapping[str, Any], source: str, layers: str) -> None:
    """Refuse an initialisation that changed the base, because the update fits no other weights."""
    start = data.get('init_lora_weights', True)
    if isinstance(start, str):
        start = start.lower()
    if start is not None and start not in PLAIN_INITIALISATIONS:
        raise CheckpointError(
            f'{source}: init_lora_weights is {start!r}, expected one of '
            f'{", ".join(map(str, PLAIN_INITIALISATIONS))}: it changes the base weights '
            f"({layers}); write a plain adapter with PEFT's "
            'save_pretrained(DIR, path_initial_model_for_weight_conversion=...)'
        )


def patterns(data: Mapping[str, Any], key: str, source: str) -> list[tuple[str, Any]]:
    """Return a table of patterns, each a regular expression that can be read."""
    table = data.get(key) or {}
    if not isinstance(table, Mapping):
        raise CheckpointError(f'{source}: {key} is {table!r}, expected an object')
    for pattern in table:
        try:
            re.compile(pattern)
        except re.error as error:
            raise CheckpointError(f'{source}: {key}: {pattern!r} is no pattern: {error}') from None
    return list(table.items())


def positive(value: Any, where: str) -> float:
    """Accept a finite number above zero."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise CheckpointError(f'{where} is {value!r}, expected a number above 0')
    return float(value)


def whole(value: Any, where: str) -> int:
    """Accept a whole number above zero, also as a float."""
    number = positive(value, where)
    if number != int(number):
        raise CheckpointError(f'{where} is {value!r}, expected a whole number')
    return int(number)
