# SPDX-License-Identifier: Apache-2.0
"""Records one answer as a CUDA graph, which a GPU replays without launch overhead."""

import torch

from xvla_ros.model.backends.network import Network
from xvla_ros.model.forward import answer, Batch, Geometry

# Runs before the recording, in which libraries choose kernels and allocate workspaces.
WARM_RUNS = 3


class CapturedAnswer:
    """
    The recorded run of one geometry, with its own buffers. Not thread-safe.

    :param batch: any inputs of that geometry, on the network's CUDA device. Create and call it
        within `torch.inference_mode()`.
    """

    def __init__(self, network: Network, batch: Batch, geometry: Geometry) -> None:
        self.inputs = Batch(*(tensor.clone() for tensor in batch))
        side = torch.cuda.Stream(batch.noise.device)
        with torch.cuda.device(batch.noise.device):
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_RUNS):
                    answer(network, self.inputs, geometry)
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.chunks, _ = answer(network, self.inputs, geometry)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Return the chunks (B, T, real_dim) for inputs of the same geometry."""
        for buffer, tensor in zip(self.inputs, batch, strict=True):
            buffer.copy_(tensor)
        self.graph.replay()
        return self.chunks.clone()
