# SPDX-License-Identifier: Apache-2.0
"""
Linear layers made ready to answer: in the dtype they multiply in, laid out for the processor.

On a CPU the weights are put once into oneDNN's own layout and the GELU is fused in, which is what
`torch.compile` with freezing does to them, without the compile. In bfloat16 only these products
are: sums, norms, embeddings and the small per-domain layers stay in fp32. Whole-network bfloat16,
as lerobot has it, is no faster and moved the demo policy's targets three times as far.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from xvla_ros.model.xvla import XVLA

# `algorithm` of oneDNN's GELU: tanh in the head, erf (called none) in the encoders.
GELU = {'tanh': 'tanh', 'erf': 'none'}


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

    def _apply(self, move: Callable, recurse: bool = True) -> nn.Module:
        """Follow the network to its device; the dtype is the layer's own."""
        self.weight = self.weight.to(move(self.weight).device)
        self.bias = None if self.bias is None else self.bias.to(self.weight.device)
        return super()._apply(move, recurse)

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
        self.bias = conv.bias.detach().to(dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in, H, W) float32 to (B, out, H', W') float32."""
        out = torch.ops.mkldnn._convolution_pointwise(
            x.to(self.dtype), self.packed, self.bias, *self.geometry, 'none', [], ''
        )
        return out.float()


def can_pack(dtype: torch.dtype) -> bool:
    """Say whether this torch and this processor have the packed kernels for a dtype."""
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, '_reorder_linear_weight'):
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pack(network: XVLA, dtype: torch.dtype, device: str = 'cpu') -> None:
    """Replace every linear layer of an fp32 network, freeing the plain weights on the way."""
    # Its output meets the fp32 text embeddings: small, and not worth the rounding.
    for part, kind in ((network.vlm.multi_modal_projector, torch.float32), (network, dtype)):
        replace(part, PackedLinear if device == 'cpu' and can_pack(kind) else CastLinear, kind)
    if device == 'cpu' and can_pack(dtype):
        # The first sees pixels, in three channels: there is nothing to gain.
        for stage in network.vlm.vision_tower.convs[1:]:
            stage.conv = PackedConvolution(stage.conv, dtype)


def replace(module: nn.Module, layer: type[nn.Module], dtype: torch.dtype) -> None:
    """Replace the linear layers below a module."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, layer(child, dtype, gelu_behind(module, name)))
        else:
            replace(child, layer, dtype)


def gelu_behind(module: nn.Module, name: str) -> str | None:
    """Say which GELU follows a layer, and take it out of the module's own forward."""
    if name != 'fc1' or not hasattr(module, 'activation_fn'):
        return None
    kind = getattr(module.activation_fn, 'approximate', None)
    gelu = {'none': 'erf', 'tanh': 'tanh'}.get(kind)
    if gelu is None and type(module.activation_fn).__name__ == 'GELUActivation':
        gelu = 'erf'
    if gelu is not None:
        module.activation_fn = nn.Identity()
    return gelu


def bfloat16_lacking(device: str = 'cpu') -> str | None:
    """Return why bfloat16 would be no faster here, or None where the processor multiplies it."""
    if torch.device(device).type != 'cpu':
        return None
    if torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported():
        return None
    return 'the processor has neither amx_bf16 nor avx512_bf16'
