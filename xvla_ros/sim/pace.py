# SPDX-License-Identifier: Apache-2.0
"""Controls how fast simulated time passes: in real time, or slower on a busy machine."""

import math
import time

# The simulation catches up with delays of up to this length. A longer delay is not caught up, so
# that simulated time falls behind real time.
MOST_BEHIND_S = 0.05
# An inference may take this long without slowing time down: twice its duration on two idle cores.
# A longer one slows time down, but only as far as other processes kept it from the processor.
TOLERATED_INFERENCE_S = 0.25
# The smallest rate: simulated time never passes slower than this share of real time.
LEAST_RATE = 0.05
# Weight of the newest inference in the rate, so that a single slow one changes little.
NEWEST = 0.3


class Pace:
    """
    Computes when each step of simulated time is due on the wall clock. Used from one thread.

    Simulated time passes at `rate` times real time. When steps take too long it passes slower, and
    a delay of more than MOST_BEHIND_S is not caught up.
    """

    def __init__(self, period_s: float) -> None:
        """Begin now; a step advances simulated time by `period_s`."""
        self._period_s = period_s
        self.rate = 1.0
        self.due_s = time.perf_counter()  # of the next step

    def next_step(self) -> None:
        """Sleep until the next step is due; when it is too late, make it due now."""
        self.due_s += self._period_s / self.rate
        left_s = self.due_s - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)
        elif -left_s > MOST_BEHIND_S:
            self.due_s = time.perf_counter()

    def adapt(self, inference_s: float, processor_share: float) -> None:
        """
        Adapt the rate to an inference.

        :param inference_s: its wall time [s]; NaN without one.
        :param processor_share: PolicyStatus.processor_share of it, 0 to 1; NaN without one.
        """
        wanted = rate_for(inference_s, processor_share)
        self.rate += NEWEST * (wanted - self.rate)


def rate_for(inference_s: float, processor_share: float) -> float:
    """
    Return the rate (LEAST_RATE to 1) at which a busy machine does not starve the policy.

    A slow model on an idle machine does not slow time down: then its latency is the model's own.

    :param inference_s: wall time of an inference [s]. :param processor_share: see `Pace.adapt`.
    """
    if math.isnan(inference_s) or math.isnan(processor_share):
        return 1.0
    if inference_s <= TOLERATED_INFERENCE_S:
        return 1.0
    rate = max(processor_share, TOLERATED_INFERENCE_S / inference_s)
    return min(1.0, max(rate, LEAST_RATE))
