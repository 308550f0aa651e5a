# SPDX-License-Identifier: Apache-2.0
"""An estimate of the inference latency that favours recent answers."""

from collections import deque

import numpy as np


class LatencyEstimate:
    """
    A quantile of the last latencies, weighted by how recent they are.

    A maximum would stay high after one slow answer (lerobot#4223); a mean is too short half of the
    time. The first answer includes warm-up, so it is kept apart. Not thread-safe.
    """

    def __init__(self, *, quantile: float = 0.9, decay: float = 0.95, window: int = 64) -> None:
        """
        Start without an estimate.

        :param quantile: share of answers that are expected within the estimate.
        :param decay: weight of an answer relative to the one after it.
        :param window: how many answers are kept.
        """
        self._quantile = quantile
        self._decay = decay
        self._latencies_s: deque[float] = deque(maxlen=window)
        self.first_s: float | None = None

    def observe(self, latency_s: float) -> None:
        """
        Add one answer's latency.

        :raises ValueError: it is negative or not finite.
        """
        if not 0 <= latency_s < float('inf'):
            raise ValueError(f'a latency must be finite and not negative, got {latency_s} s')
        if self.first_s is None:
            self.first_s = latency_s
        else:
            self._latencies_s.append(latency_s)

    @property
    def value_s(self) -> float | None:
        """Latency to expect [s]: the first answer's while there is no other; None before."""
        if not self._latencies_s:
            return self.first_s
        latencies = np.array(self._latencies_s)
        weights = self._decay ** np.arange(len(latencies) - 1, -1, -1.0)
        order = np.argsort(latencies)
        reached = np.cumsum(weights[order]) >= self._quantile * weights.sum() - 1e-12
        return float(latencies[order][np.argmax(reached)])

    def reset(self) -> None:
        """Forget everything: another model, another server."""
        self._latencies_s.clear()
        self.first_s = None
