# SPDX-License-Identifier: Apache-2.0
"""Low-rank updates in place of whole weights, by peft; they are merged into what is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from xvla_ros.core.errors import ConfigError
from xvla_ros.model.xvla import XVLA

# As in X-VLA's peft_train.py: alpha is twice the rank, every linear layer is adapted.
ALPHA = 2


def add_lora(network: XVLA, rank: int, seed: int) -> None:
    """
    Put a low-rank update beside every linear layer; the layer's own weight is no longer trained.

    :raises ConfigError: peft is not installed.
    """
    try:
        from peft import inject_adapter_in_model, LoraConfig
    except ImportError as error:
        raise ConfigError(f"--lora: {error}; pip install 'xvla_ros[adapt]' or peft") from error
    names = [n for n, module in network.named_modules() if isinstance(module, nn.Linear)]
    config = LoraConfig(r=rank, lora_alpha=ALPHA * rank, bias='none', target_modules=names)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network)


@contextmanager
def merged(network: XVLA) -> Iterator[None]:
    """Have plain layers with the updates added inside a `with` block."""
    adapted = [(n, m) for n, m in network.named_modules() if hasattr(m, 'get_delta_weight')]
    kept = [layer.get_base_layer().weight.data for _, layer in adapted]
    for name, layer in adapted:
        base = layer.get_base_layer()
        base.weight.data = base.weight.data + layer.get_delta_weight('default').detach()
        replace(network, name, base)
    try:
        yield
    finally:
        for (name, layer), weight in zip(adapted, kept, strict=True):
            layer.get_base_layer().weight.data = weight
            replace(network, name, layer)


def replace(network: nn.Module, name: str, layer: Any) -> None:
    """Put another module in a module's place."""
    parent, _, last = name.rpartition('.')
    setattr(network.get_submodule(parent), last, layer)
