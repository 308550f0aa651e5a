# SPDX-License-Identifier: Apache-2.0
"""Merge a LoRA adapter (PEFT's layout, e.g. 2toINF/X-VLA-*-peft) into the weights it adapts."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.layouts import to_network
from xvla_ros.model.reading import read_header, read_json

CONFIG = 'adapter_config.json'
WEIGHTS = 'adapter_model.safetensors'
PEFT_PREFIX = 'base_model.model.'
# Settings that would change what a merge means; all are PEFT's defaults in X-VLA's adapters.
UNSUPPORTED = ('fan_in_fan_out', 'use_dora', 'rank_pattern', 'alpha_pattern', 'lora_bias')


class Adapter:
    """
    Low-rank updates and replaced tensors, by the network's tensor names.

    :raises CheckpointError: a tensor has no partner, or the settings are not plain LoRA.
    """

    def __init__(self, path: Path) -> None:
        settings = read_json(path / CONFIG)
        for key in UNSUPPORTED:
            if settings.get(key):
                raise CheckpointError(f'{path / CONFIG}: {key} is not supported')
        numbers = all(isinstance(settings.get(k), (int, float)) for k in ('r', 'lora_alpha'))
        if settings.get('peft_type', 'LORA') != 'LORA' or not numbers or settings['r'] <= 0:
            raise CheckpointError(f'{path / CONFIG}: not a LoRA adapter with r and lora_alpha')
        rank = settings['r'] ** 0.5 if settings.get('use_rslora') else settings['r']
        self.scale = settings['lora_alpha'] / rank
        self.source = path / WEIGHTS
        self.pairs: dict[str, dict[str, torch.Tensor]] = {}
        self.replaced: dict[str, torch.Tensor] = {}
        if not self.source.is_file():
            raise CheckpointError(f'{self.source}: missing')
        read_header(self.source)
        for name, tensor in self._stored().items():
            self._add(name, tensor)
        self._check_pairs()
        self.unused = {*self.pairs, *self.replaced}

    def _check_pairs(self) -> None:
        """Refuse half an update, and halves that do not fit."""
        for name, pair in self.pairs.items():
            if set(pair) != {'A', 'B'}:
                raise CheckpointError(f'{self.source}: {name} has only lora_{min(pair)}')
            ranks = pair['A'].shape[0], pair['B'].shape[-1]
            if ranks[0] != ranks[1]:
                raise CheckpointError(
                    f'{self.source}: lora_A and lora_B of {name} have ranks {ranks[0]}, {ranks[1]}'
                )

    def _stored(self) -> dict[str, torch.Tensor]:
        try:
            return load_file(str(self.source))
        except SafetensorError as error:
            raise CheckpointError(f'{self.source}: {error}') from error

    def _add(self, name: str, tensor: torch.Tensor) -> None:
        """Sort one stored tensor into an update or a replacement."""
        if not name.startswith(PEFT_PREFIX):
            raise CheckpointError(f"{self.source}: tensor {name} is not in PEFT's layout")
        inner = name.removeprefix(PEFT_PREFIX).replace('.default', '')
        for side in ('A', 'B'):
            module, found, _ = inner.partition(f'.lora_{side}.weight')
            if found:
                self.pairs.setdefault(to_network(f'{module}.weight'), {})[side] = tensor
                return
        if '.lora_' in inner:
            raise CheckpointError(f"{self.source}: tensor {name} is not a linear layer's update")
        self.replaced[to_network(inner.replace('.modules_to_save', ''))] = tensor

    def merged(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the network with its update added in fp32, or its replacement."""
        self.unused.discard(name)
        if name in self.replaced:
            change, base = self.replaced[name], 0.0
        elif name in self.pairs:
            pair, base = self.pairs[name], tensor.float()
            change = self.scale * (pair['B'].float() @ pair['A'].float())
        else:
            return tensor
        if change.shape != tensor.shape:
            raise CheckpointError(
                f'{self.source}: update of {name} is {tuple(change.shape)}, '
                f'the base has {tuple(tensor.shape)}'
            )
        return base + change

    def check_used(self) -> None:
        """Refuse an adapter that names tensors the base does not have."""
        if self.unused:
            raise CheckpointError(f'{self.source}: the base has no {min(self.unused)}')
