# SPDX-License-Identifier: Apache-2.0
"""
Linear layers prepared for inference: in the dtype of their products, in the CPU's best layout.

A packed layer keeps its weights in oneDNN's own layout and has the GELU fused in, like
`torch.compile` with freezing but without the compilation. A cast layer is a plain one. Packed
layers are faster with AVX-512 and AMX; if oneDNN has slower kernels than MKL, plain ones take half
the time. So the choice is measured (measured.py).

With bfloat16 only the products of these layers are in bfloat16: sums, norms, embeddings and the
small per-domain layers stay in float32. Bfloat16 for the whole network, as in lerobot, is not
faster and moved the demo policy's targets three times as far.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from xvla_ros.model.measured import fastest, measured, Measurement, Question
from xvla_ros.model.xvla import XVLA

# `algorithm` of oneDNN's GELU: tanh in the head, erf (called none) in the encoders.
GELU = {'tanh': 'tanh', 'erf': 'none'}
# Names of the dtypes in settings and measurements.
NAMES = {torch.float32: 'float32', torch.bfloat16: 'bfloat16'}
# Rows per unit of a measurement; eight units are the 262 rows of X-VLA's head at three views.
ROWS = 32


class PackedLinear(nn.Module):
    """
    A frozen linear layer in oneDNN's own weight layout.

    :param gelu: apply this GELU (`tanh` or `erf`) to the output, or none.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, gelu: str | None = None) -> None:
        super().__init__()
        self.dtype = dtype
        weight = linear.weight.detach().to(dtype)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.after = ('none', '') if gelu is None else ('gelu', GELU[gelu])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) of any float dtype to (..., out) of the layer's."""
        kind, algorithm = self.after
        return torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), self.packed, self.bias, kind, [], algorithm
        )


class CastLinear(nn.Module):
    """A frozen linear layer that multiplies in its own dtype; see `PackedLinear`."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype, gelu: str | None = None) -> None:
        super().__init__()
        self.weight = linear.weight.detach().to(dtype)
        self.bias = None if linear.bias is None else linear.bias.detach().to(dtype)
        self.gelu = gelu

    def _apply(
        self, move: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True
    ) -> nn.Module:
        """Follow the network to its device, but keep the layer's dtype."""
        self.weight = self.weight.to(move(self.weight).device)
        self.bias = None if self.bias is None else self.bias.to(self.weight.device)
        return super()._apply(move, recurse)  # type: ignore[no-untyped-call]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) of any float dtype to (..., out) of the layer's."""
        out = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
        if self.gelu is None:
            return out
        return F.gelu(out, approximate='tanh' if self.gelu == 'tanh' else 'none')


class PackedConvolution(nn.Module):
    """A frozen dense convolution in oneDNN's own weight layout, float32 outside."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        weight = conv.weight.detach().to(dtype)
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry)
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in, H, W) float32 to (B, out, H', W') float32."""
        out = torch.ops.mkldnn._convolution_pointwise(
            x.to(self.dtype), self.packed, self.bias, *self.geometry, 'none', [], ''
        )
        return out.float()


# Kinds of layers by their names in measurements, the default first.
KINDS: dict[str, type[nn.Module]] = {'packed': PackedLinear, 'plain': CastLinear}


def can_pack(dtype: torch.dtype) -> bool:
    """Say whether this torch and this processor have the packed kernels for a dtype."""
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, '_reorder_linear_weight'):
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pack(network: XVLA, dtype: torch.dtype, device: str = 'cpu') -> None:
    """Replace every linear layer of an fp32 network, and free the plain weights one by one."""
    # The projector is small, and its output is joined with fp32 text embeddings: not worth it.
    for part, kind in ((network.vlm.multi_modal_projector, torch.float32), (network, dtype)):
        replace(part, layer_kind(kind, network.config.hidden_size, device), kind)
    if device == 'cpu' and can_pack(dtype):
        # The first sees pixels, in three channels: there is nothing to gain. The others run in
        # oneDNN either way.
        stages: Any = network.vlm.vision_tower.convs
        for stage in stages[1:]:
            stage.conv = PackedConvolution(stage.conv, dtype)


def layer_kind(dtype: torch.dtype, width: int, device: str = 'cpu') -> type[nn.Module]:
    """Return the faster kind of layer for a dtype and a network's width (`hidden_size`)."""
    if device != 'cpu' or not can_pack(dtype):
        return CastLinear
    return KINDS[layer_choice(dtype, width).split()[1]]


def layer_choice(dtype: torch.dtype, width: int) -> str:
    """Return the faster kind of layer on this CPU, such as `float32 packed`; by default packed."""
    return fastest(layer_times(width).seconds, [f'{NAMES[dtype]} {kind}' for kind in KINDS])


def layer_times(width: int) -> Measurement:
    """
    Return the time of one block's MLP by dtype and kind of layer, such as `float32 packed`.

    :param width: width of the block; its MLP is four times as wide inside, as in X-VLA.
    """
    question = Question(
        name=f'layers-{width}',
        ways=tuple(f'{name} plain' for name in NAMES.values()),
        prepare=lambda: mlps(width),
    )
    return measured(question)


@torch.inference_mode()
def mlps(width: int) -> dict[str, Callable[[int], object]]:
    """Return an MLP of every dtype and kind of layer, each a function of the number of units."""
    wide, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    ways = {}
    for dtype, name in NAMES.items():
        for kind, layer in KINDS.items():
            if kind == 'plain' or can_pack(dtype):
                mlp = nn.Sequential(layer(wide, dtype, 'tanh'), layer(narrow, dtype))
                ways[f'{name} {kind}'] = run_on_rows(mlp, width)
    return ways


def run_on_rows(module: nn.Module, width: int) -> Callable[[int], object]:
    """Return a function that runs a module on up to eight times ROWS rows."""
    x = torch.randn(1, 8 * ROWS, width)

    def run(size: int) -> object:
        with torch.inference_mode():
            return module(x[:, : size * ROWS])

    return run


def bfloat16_slower(width: int, device: str = 'cpu') -> str | None:
    """Return why bfloat16 layers of a width are not faster on a device; None if they are."""
    if torch.device(device).type != 'cpu':
        return None
    seconds = layer_times(width).seconds
    best = {
        name: min(value for way, value in seconds.items() if way.startswith(name))
        for name in NAMES.values()
    }
    ratio = best['bfloat16'] / best['float32']
    if ratio < 1:
        return None
    return f'bfloat16 layers take {ratio:.1f} x as long as float32 ones on this processor'


def replace(
    module: nn.Module,
    layer: type[nn.Module],
    dtype: torch.dtype,
    names: Collection[str] | None = None,
    inside: str = '',
) -> None:
    """
    Replace the linear layers below a module.

    :param names: names of the layers to replace; None: all.
    :param inside: prefix of the module's own name.
    """
    for name, child in list(module.named_children()):
        full = f'{inside}{name}'
        if not isinstance(child, nn.Linear):
            replace(child, layer, dtype, names, f'{full}.')
        elif names is None or full in names:
            setattr(module, name, layer(child, dtype, gelu_behind(module, name)))


def gelu_behind(module: nn.Module, name: str) -> str | None:
    """Return the GELU that follows a layer, and remove it from the module's forward."""
    if name != 'fc1' or not hasattr(module, 'activation_fn'):
        return None
    kind = str(getattr(module.activation_fn, 'approximate', ''))
    gelu = {'none': 'erf', 'tanh': 'tanh'}.get(kind)
    if gelu is None and type(module.activation_fn).__name__ == 'GELUActivation':
        gelu = 'erf'
    if gelu is not None:
        module.activation_fn = nn.Identity()
    return gelu
