# SPDX-License-Identifier: Apache-2.0
"""The encoder's output for each sample, kept while the encoder is not trained."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.adapt.trainer.batches import Batch, to_device
from xvla_ros.adapt.trainer.forward import encode
from xvla_ros.adapt.trainer.objective import Student

# Samples that the encoder sees at a time. Rounding depends on it, so it never changes in a run.
BLOCK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """The encoder's outputs of some samples: index (N,) sorted, encoded (N, ...), auxiliary."""

    index: NDArray[np.intp]
    encoded: torch.Tensor
    auxiliary: torch.Tensor

    def of(self, samples: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both outputs of samples, all of which must be among those of `index`."""
        rows = torch.from_numpy(np.searchsorted(self.index, samples))
        return self.encoded[rows], self.auxiliary[rows]


@torch.no_grad()
def encode_all(
    student: Student, samples: NDArray[np.intp], read: Callable[[NDArray[np.intp]], Batch]
) -> Features:
    """
    Run the encoder over samples, in blocks of a fixed size: the result depends on nothing else.

    :param samples: sorted indices. read: returns the batch of some samples.
    """
    student.network.eval()
    parts = []
    for first in range(0, len(samples), BLOCK):
        batch = to_device(read(samples[first : first + BLOCK]), student.device)
        with student.arithmetic():
            parts.append([part.cpu() for part in encode(student.network, batch)])
    encoded, auxiliary = (torch.cat(list(part)) for part in zip(*parts, strict=True))
    return Features(index=samples, encoded=encoded, auxiliary=auxiliary)
