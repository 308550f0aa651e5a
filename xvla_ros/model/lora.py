# SPDX-License-Identifier: Apache-2.0
"""Merges a LoRA adapter (PEFT's layout, e.g. 2toINF/X-VLA-*-peft) into the base's weights."""

from pathlib import Path
import re

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch

from xvla_ros.core.checkpoints import ADAPTER_CONFIG
from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.layouts import PROJECTION, to_network
from xvla_ros.model.lora_settings import lora_settings
from xvla_ros.model.reading import (
    check_readable,
    PEFT_PREFIX,
    read_json,
    TRAINING_WRAPPERS,
)
from xvla_ros.model.sources import adapter_folder

WEIGHTS = 'adapter_model.safetensors'
# `default` is the adapter's name in old files; the others are PEFT's wrappers around a layer that
# is adapted or trained as a whole.
WRAPPERS = re.compile(r'\.(default|base_layer|modules_to_save)(?=\.|$)')
UPDATE = re.compile(
    r'(?P<layer>.+)\.lora_(?P<part>A\.weight|B\.weight|B\.bias|embedding_A|embedding_B)'
)
# The two factors of an update, for a linear layer or a convolution and for an embedding.
FACTORS = (('A.weight', 'B.weight'), ('embedding_A', 'embedding_B'))


class Adapter:
    """
    The updates of an adapter and the tensors it replaces, by the network's tensor names.

    `replaced` holds the tensors that were trained as a whole: `modules_to_save`, and biases.

    :raises CheckpointError: a tensor has no partner, or a setting is not supported.
    """

    def __init__(self, path: Path) -> None:
        self.source = path / WEIGHTS
        self.parts: dict[str, dict[str, torch.Tensor]] = {}
        self.replaced: dict[str, torch.Tensor] = {}
        self.updates: dict[str, torch.Tensor] = {}
        settings = read_json(path / ADAPTER_CONFIG)
        check_readable(self.source)
        for name, tensor in self._stored().items():
            self._sort(name, tensor)
        self.settings = lora_settings(settings, str(path / ADAPTER_CONFIG), self._layers())
        for layer, parts in self.parts.items():
            self._add_update(layer, parts)
        self.unused = {*self.updates, *self.replaced}

    def _stored(self) -> dict[str, torch.Tensor]:
        try:
            return load_file(str(self.source))
        except SafetensorError as error:
            raise CheckpointError(f'{self.source}: {error}') from error

    def _sort(self, name: str, tensor: torch.Tensor) -> None:
        """Add one stored tensor to the updates or to the replaced tensors."""
        if not name.startswith(PEFT_PREFIX):
            raise CheckpointError(f"{self.source}: tensor {name} is not in PEFT's layout")
        inner = TRAINING_WRAPPERS.sub('', WRAPPERS.sub('', name.removeprefix(PEFT_PREFIX)))
        if update := UPDATE.fullmatch(inner):
            self.parts.setdefault(update['layer'], {})[update['part']] = tensor
            return
        if '.lora_' in inner:
            raise CheckpointError(
                f'{self.source}: tensor {name} is not part of a plain LoRA update'
            )
        target = to_network(inner)
        if target in self.replaced:
            raise CheckpointError(f'{self.source}: {name} is a second tensor for {target}')
        # The authors store the image projection transposed, under a name without `.weight`.
        turned = target == PROJECTION and not inner.endswith('.weight')
        self.replaced[target] = tensor.t() if turned else tensor

    def _layers(self) -> str:
        """Return the adapted layers as text for messages."""
        if not self.parts:
            return 'no layer is adapted'
        more = f' and {len(self.parts) - 1} more' if len(self.parts) > 1 else ''
        return f'layer {min(self.parts)}{more}'

    def _add_update(self, layer: str, parts: dict[str, torch.Tensor]) -> None:
        """Compute the update of a layer's weight, and of its bias if the adapter has one."""
        down, up = self._factors(layer, parts)
        rank, scale = self.settings.rank_of(layer), self.settings.scale_of(layer)
        ranks = down.shape[0], up.shape[1]
        if ranks != (rank, rank):
            raise CheckpointError(
                f'{self.source}: lora_A and lora_B of {layer} have ranks {ranks[0]}, {ranks[1]}, '
                f'the settings say {rank}'
            )
        update = scale * product(down, up)
        self.updates[to_network(f'{layer}.weight')] = (
            update.t() if 'embedding_A' in parts else update
        )
        if 'B.bias' in parts:
            self.updates[to_network(f'{layer}.bias')] = scale * parts['B.bias'].float()

    def _factors(
        self, layer: str, parts: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two factors of an update, both matrices or both convolutions."""
        for first, second in FACTORS:
            if {first, second} == set(parts) - {'B.bias'}:
                down, up = parts[first].float(), parts[second].float()
                # The second convolution of an update has a kernel of 1 x 1.
                if down.ndim == up.ndim and down.ndim in (2, 4) and up[0, 0].numel() == 1:
                    return down, up
        shapes = ', '.join(f'lora_{name} {tuple(t.shape)}' for name, t in sorted(parts.items()))
        raise CheckpointError(
            f'{self.source}: {layer} has {shapes}; expected lora_A and lora_B of a linear layer, '
            'an embedding or a convolution'
        )

    def merged(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return the replacement of a tensor, or the tensor with its update added in fp32."""
        self.unused.discard(name)
        if name not in self.replaced and name not in self.updates:
            return tensor
        result = self._fitting(name, self.replaced.get(name, tensor), tensor)
        if name in self.updates:
            result = result.float() + self._fitting(name, self.updates[name], tensor)
        return result

    def _fitting(self, name: str, change: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """Return a change, or refuse it if its shape is not that of the base's tensor."""
        if change.shape != base.shape:
            raise CheckpointError(
                f'{self.source}: update of {name} is {tuple(change.shape)}, '
                f'the base has {tuple(base.shape)}'
            )
        return change

    def check_used(self) -> None:
        """Refuse an adapter that names tensors the base does not have."""
        if self.unused:
            raise CheckpointError(f'{self.source}: the base has no {min(self.unused)}')


def read_adapter(path: str | Path | None) -> Adapter | None:
    """
    Read an adapter, which is found like a checkpoint; None gives None.

    :raises CheckpointError: there is none, or it cannot be merged.
    """
    return None if path is None else Adapter(adapter_folder(path))


def product(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """
    Multiply the two factors of an update.

    :param down: (rank, in) or (rank, in, height, width); `up`: (out, rank) or (out, rank, 1, 1).
    :return: (out, in) or (out, in, height, width).
    """
    return (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:])
