# SPDX-License-Identifier: Apache-2.0
"""
Linear layers made ready to answer: in the dtype they multiply in, laid out for the processor.

A packed layer keeps its weights in oneDNN's own layout and has the GELU fused in, which is what
`torch.compile` with freezing does, without the compile. A cast layer is the plain one. Which is
faster on a CPU differs: packed layers win with AVX-512 and AMX; where oneDNN has slower kernels
than MKL, plain ones take half the time. So it is measured (measured.py).

With bfloat16 only the products of these layers are in bfloat16: sums, norms, embeddings and the
small per-domain layers stay in float32. Bfloat16 for the whole network, as lerobot has it, is no
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
# Dtypes of products, by the names of settings and measurements.
NAMES = {torch.float32: 'float32', torch.bfloat16: 'bfloat16'}
# Rows of a measurement's unit; eight of them are the 262 rows of X-VLA's head at three views.
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
        """Follow the network to its device; the dtype is the layer's own."""
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


# Kinds of layers by the names in measurements, the usual one first.
KINDS: dict[str, type[nn.Module]] = {'packed': PackedLinear, 'plain': CastLinear}


def can_pack(dtype: torch.dtype) -> bool:
    """Say whether this torch and this processor have the packed kernels for a dtype."""
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, '_reorder_linear_weight'):
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pack(network: XVLA, dtype: torch.dtype, device: str = 'cpu') -> None:
    """Replace every linear layer of an fp32 network, freeing the plain weights on the way."""
    # The projector's output meets the fp32 text embeddings: small, and not worth the rounding.
    for part, kind in ((network.vlm.multi_modal_projector, torch.float32), (network, dtype)):
        replace(part, layer_kind(kind, network.config.hidden_size, device), kind)
    if device == 'cpu' and can_pack(dtype):
        # The first sees pixels, in three channels: there is nothing to gain. The others run in
        # oneDNN either way.
        stages: Any = network.vlm.vision_tower.convs
        for stage in stages[1:]:
            stage.conv = PackedConvolution(stage.conv, dtype)


def layer_kind(dtype: torch.dtype, width: int, device: str = 'cpu') -> type[nn.Module]:
    """Return the faster kind of layer for a dtype, in a network of a width (`hidden_size`)."""
    if device != 'cpu' or not can_pack(dtype):
        return CastLinear
    return KINDS[layer_choice(dtype, width).split()[1]]


def layer_choice(dtype: torch.dtype, width: int) -> str:
    """Return the faster kind of layer on this CPU, as `float32 packed`; packed in doubt."""
    return fastest(layer_times(width).seconds, [f'{NAMES[dtype]} {kind}' for kind in KINDS])


def layer_times(width: int) -> Measurement:
    """
    Return how long one block's MLP takes, by dtype and kind of layer, as `float32 packed`.

    :param width: of the block; its MLP is four times as wide inside, as X-VLA's is.
    """
    question = Question(
        name=f'layers-{width}',
        ways=tuple(f'{name} plain' for name in NAMES.values()),
        prepare=lambda: mlps(width),
    )
    return measured(question)


@torch.inference_mode()
def mlps(width: int) -> dict[str, Callable[[int], object]]:
    """Return an MLP of every dtype and kind of layer, each to run on so many times ROWS rows."""
    wide, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    ways = {}
    for dtype, name in NAMES.items():
        for kind, layer in KINDS.items():
            if kind == 'plain' or can_pack(dtype):
                mlp = nn.Sequential(layer(wide, dtype, 'tanh'), layer(narrow, dtype))
                ways[f'{name} {kind}'] = run_on_rows(mlp, width)
    return ways


def run_on_rows(module: nn.Module, width: int) -> Callable[[int], object]:
    """Return a function that runs a module on so many times ROWS rows, eight times at most."""
    x = torch.randn(1, 8 * ROWS, width)

    def run(size: int) -> object:
        with torch.inference_mode():
            return module(x[:, : size * ROWS])

    return run


def bfloat16_slower(width: int, device: str = 'cpu') -> str | None:
    """Return why bfloat16 layers of a width do not pay on a device; None where they are faster."""
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

    :param names: of the layers that are replaced; all without.
    :param inside: what the module's own name begins with.
    """
    for name, child in list(module.named_children()):
        full = f'{inside}{name}'
        if not isinstance(child, nn.Linear):
            replace(child, layer, dtype, names, f'{full}.')
        elif names is None or full in names:
            setattr(module, name, layer(child, dtype, gelu_behind(module, name)))


def gelu_behind(module: nn.Module, name: str) -> str | None:
    """Say which GELU follows a layer, and take it out of the module's own forward."""
    if name != 'fc1' or not hasattr(module, 'activation_fn'):
        return None
    kind = str(getattr(module.activation_fn, 'approximate', ''))
    gelu = {'none': 'erf', 'tanh': 'tanh'}.get(kind)
    if gelu is None and type(module.activation_fn).__name__ == 'GELUActivation':
        gelu = 'erf'
    if gelu is not None:
        module.activation_fn = nn.Identity()
    return gelu
