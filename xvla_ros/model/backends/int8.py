# SPDX-License-Identifier: Apache-2.0
"""
Linear layers that multiply 8-bit integers with oneDNN's kernels.

Weights are rounded once, symmetrically and per output. Inputs are rounded at every call, over
their current range. Sums are exact, and everything between the products is float32. The layers
whose rounding changes the answer most can stay in float32.
"""

from collections.abc import Collection
from functools import lru_cache
import json
from pathlib import Path

import torch
from torch import nn

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.packing import GELU, pack, replace
from xvla_ros.model.xvla import XVLA

# File beside a checkpoint's weights with the layers that stay in float32; `xvla tune` writes it.
FLOAT_LAYERS = 'int8.json'
LARGEST_INPUT = 255
# A processor without VNNI instructions adds two products in 16 bits, which overflow beyond 32767:
# 2 x 255 x 64 = 32640 does not.
LARGEST_WEIGHT, LARGEST_WEIGHT_16_BIT = 127, 64


class Int8Linear(nn.Module):
    """
    A frozen linear layer that multiplies integers; see `packing.PackedLinear`.

    :param gelu: apply this GELU (`tanh` or `erf`) to the output, or none.
    """

    def __init__(
        self, linear: nn.Linear, dtype: torch.dtype = torch.int8, gelu: str | None = None
    ) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.scale = (weight.abs().amax(dim=1) / largest_weight()).clamp_min(1e-12)
        rounded = (weight / self.scale[:, None]).round().to(dtype)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.after = ('none', '') if gelu is None else ('gelu', GELU[gelu])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) float32 to (..., out) float32."""
        low, high = (float(end) for end in torch.aminmax(x))
        scale = max(max(high, 0.0) - min(low, 0.0), 1e-12) / LARGEST_INPUT
        zero = round(-min(low, 0.0) / scale)
        rounded = x.mul(1 / scale).add_(zero).round_().clamp_(0, LARGEST_INPUT)
        kind, algorithm = self.after
        return torch.ops.onednn.qlinear_pointwise(
            rounded.to(torch.uint8),
            *(scale, zero, self.packed, self.scale, self.zeros, self.bias),
            *(1.0, 0, torch.float32, kind, [], algorithm),
        )


@lru_cache
def largest_weight() -> int:
    """Return the largest rounded weight whose products this processor adds without overflow."""
    width = 64
    weight = torch.full((width, width), LARGEST_WEIGHT, dtype=torch.int8)
    ones, zeros = torch.ones(width), torch.zeros(width, dtype=torch.int64)
    found = torch.ops.onednn.qlinear_pointwise(
        torch.full((1, width), LARGEST_INPUT, dtype=torch.uint8),
        *(1.0, 0, torch.ops.onednn.qlinear_prepack(weight, None), ones, zeros, None),
        *(1.0, 0, torch.float32, 'none', [], ''),
    )
    exact = width * LARGEST_INPUT * LARGEST_WEIGHT
    return LARGEST_WEIGHT if bool((found == exact).all()) else LARGEST_WEIGHT_16_BIT


def can_round() -> bool:
    """Say whether this torch has integer products."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, 'qlinear_pointwise')


def linear_layers(network: nn.Module) -> list[str]:
    """Return the names of the layers that may be rounded."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and 'multi_modal_projector' not in name
    ]


def pack_int8(network: XVLA, device: str = 'cpu', float_layers: Collection[str] = ()) -> None:
    """
    Replace the linear layers of an fp32 network, and free the plain weights one by one.

    :param float_layers: names of the layers that stay in float32.
    :raises CheckpointError: this torch has no integer products, or there is no such layer.
    """
    if device != 'cpu' or not can_round():
        raise CheckpointError(f'dtype int8 needs oneDNN on a processor, the device is {device!r}')
    names = set(linear_layers(network))
    if unknown := sorted(set(float_layers) - names):
        raise CheckpointError(f'{FLOAT_LAYERS}: the network has no layer {unknown[0]}')
    replace(network, Int8Linear, torch.int8, names - set(float_layers))
    pack(network, torch.float32, device)


def read_float_layers(folder: Path) -> tuple[str, ...]:
    """
    Return the layers of a checkpoint that stay in float32; none without the file.

    :raises CheckpointError: the file was not written by `xvla tune`.
    """
    file = folder / FLOAT_LAYERS
    if not file.is_file():
        return ()
    try:
        layers = json.loads(file.read_text(encoding='utf-8'))['float_layers']
        return tuple(str(name) for name in layers)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{file}: expected an object with float_layers') from error
