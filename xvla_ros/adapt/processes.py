# SPDX-License-Identifier: Apache-2.0
"""This process among those that train together: GPUs, machines, or one alone."""

from collections.abc import Callable
import os
from typing import Any

import torch

from xvla_ros.core.errors import ConfigError


class Processes:
    """
    One of several processes with equal networks.

    Each computes its part of every batch; gradients are averaged after the backward pass. No
    wrapper is put around the network, so stages may freeze what they like.
    """

    def __init__(self, accelerator: Any = None) -> None:
        """:param accelerator: accelerate's; None for one process alone."""
        self.accelerator = accelerator
        self.rank = int(accelerator.process_index) if accelerator else 0
        self.world = int(accelerator.num_processes) if accelerator else 1

    def device(self, name: str) -> str:
        """Return where this process computes: its own GPU among several."""
        return str(self.accelerator.device) if self.accelerator else name

    def reduce(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Return what takes the mean of a tensor over all processes; None where there is one."""
        if self.world == 1:
            return None
        return self._mean

    def _mean(self, tensor: torch.Tensor) -> torch.Tensor:
        mean: torch.Tensor = self.accelerator.reduce(tensor, 'mean')
        return mean


def processes_of(device: str) -> Processes:
    """
    Return this process as `accelerate launch` or torchrun started it.

    :param device: cpu or cuda.
    :raises ConfigError: there are several, and accelerate is not installed.
    """
    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        return Processes()
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ConfigError(
            f"several processes: {error}; pip install 'xvla_ros[adapt]' or accelerate"
        ) from error
    return Processes(Accelerator(cpu=device == 'cpu'))
