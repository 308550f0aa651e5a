# SPDX-License-Identifier: Apache-2.0
"""
Linear layers laid out once for the processor's matrix kernels (oneDNN), with the GELU fused in.

What `torch.compile` with freezing does to them, without the compile. The numbers are those of the
plain layers up to the order of additions.
"""

import torch
from torch import nn

# `algorithm` of oneDNN's GELU: tanh in the head, erf (called none) in the encoders.
GELU = {'tanh': 'tanh', 'erf': 'none'}


class PackedLinear(nn.Module):
    """
    A frozen linear layer in oneDNN's own weight layout.

    :param gelu: apply this GELU (`tanh` or `erf`) to the output, or none.
    """

    def __init__(self, linear: nn.Linear, gelu: str | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.after = ('none', '') if gelu is None else ('gelu', GELU[gelu])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        kind, algorithm = self.after
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, kind, [], algorithm)


def can_pack(dtype: torch.dtype) -> bool:
    """Say whether this torch and this processor have the packed kernels for a dtype."""
    if not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, '_reorder_linear_weight'):
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pack(module: nn.Module) -> None:
    """Replace every linear layer below a module, freeing the plain weights on the way."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child, gelu_behind(module, name)))
        else:
            pack(child)


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
