# SPDX-License-Identifier: Apache-2.0
"""The chunk queue joins late chunks into one curve over time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import numpy as np

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.curves import Curve, Fade, Hold, prune, sampled
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.interpolation import State, Trajectory
from xvla_ros.core.space import PoseSpace, Space
from xvla_ros.core.strategies import fade, Junction, make_strategy

# Most plans that an ensemble averages. Each costs time on every tick.
MAX_PLANS = 32


class ChunkQueue:
    """
    Computes the current target from the chunks that arrived so far.

    The time of an anchor counts from the stamp of its observation. When a chunk arrives late, its
    past anchors are skipped. Time never runs backwards: an earlier `now_ns` counts as the latest
    one seen. One thread may put while another takes.
    """

    def __init__(
        self,
        *,
        strategy: str = 'blend',
        layout: str = 'interleaved',
        blend_s: float = 0.4,
        ensemble_decay: float = 0.01,
        engage_s: float = 0.5,
        arms: int | None = None,
        space: Space | None = None,
    ) -> None:
        """
        Start empty.

        :param strategy: replace, blend, ensemble or inpaint.
        :param layout: Rotate6D layout of the chunks.
        :param blend_s: length of the cross-fade of blend and inpaint.
        :param ensemble_decay: weight decay per plan of ensemble.
        :param engage_s: length of the ramp after `engage`.
        :param arms: how many arms every chunk moves; None: as many as each chunk has.
        :param space: the space of the chunks; None: tool poses in `layout`.
        :raises ValueError: the strategy is unknown.
        """
        self._options = {'blend_s': blend_s, 'ensemble_decay': ensemble_decay}
        self._strategy = make_strategy(strategy, **self._options)
        self._strategy_name = strategy
        self._space: Space = space or PoseSpace(layout, arms)
        self._blend_s = blend_s
        self._engage_s = engage_s
        self._arms = arms
        self._lock = Lock()
        self._now_ns = 0
        self._not_before_ns = 0
        self._changed = False
        self._refused: Counter[str] = Counter()
        self._forget()

    def _forget(self) -> None:
        self._curve: Curve | None = None
        self._plans: tuple[Trajectory, ...] = ()
        self._engaging = False

    @property
    def strategy(self) -> str:
        """Name of the strategy in use."""
        return self._strategy_name

    @property
    def refused(self) -> dict[str, int]:
        """How many chunks were refused, by reason: non_finite, arms, older, past."""
        with self._lock:
            return dict(self._refused)

    def set_strategy(self, name: str) -> None:
        """
        Use another strategy from the next chunk on; that chunk is always faded in.

        :raises ValueError: the strategy is unknown.
        """
        strategy = make_strategy(name, **self._options)
        with self._lock:
            self._changed = self._changed or name != self._strategy_name
            self._strategy, self._strategy_name = strategy, name

    def put(self, chunk: Chunk, now_ns: int) -> bool:
        """
        Add a chunk; it changes the targets from now on.

        :return: whether it was used. `refused` counts the reasons: a value is not finite, the
            number of arms differs, its observation is not newer than the last one, or its last
            anchor is already past.
        """
        reason, plan = self._read(chunk)
        with self._lock:
            self._now_ns = now_ns = max(now_ns, self._now_ns)
            reason = reason or self._refusal(chunk, now_ns)
            if reason or plan is None:
                self._refused[reason] += 1
                return False
            self._plans = (*(p for p in self._plans if p.end_ns > now_ns), plan)[-MAX_PLANS:]
            self._curve = self._joined(plan, now_ns)
            return True

    def _read(self, chunk: Chunk) -> tuple[str, Trajectory | None]:
        """Return an empty text and the chunk's trajectory, or the refusal and None."""
        try:
            return '', self._space.trajectory(chunk)
        except ValueError:
            return 'non_finite', None

    def _refusal(self, chunk: Chunk, now_ns: int) -> str:
        """Return why this chunk cannot be used; empty when it can."""
        if (
            self._curve is not None
            and self._arms is None
            and len(self._curve.at(now_ns)) != chunk.arms
        ):
            return 'arms'
        newest_ns = self._plans[-1].stamp_ns if self._plans else self._not_before_ns - 1
        if chunk.stamp_ns <= newest_ns:
            return 'older'
        return 'past' if chunk.end_ns <= now_ns else ''

    def _joined(self, plan: Trajectory, now_ns: int) -> Curve:
        """Return the curve to command now that `plan`, the newest one, has arrived."""
        if self._curve is None:
            return plan
        if self._engaging:
            self._engaging = False
            return self._ramp(self._curve, plan, now_ns, self._engage_s)
        curve = self._join(self._curve, now_ns)
        self._changed = False
        return curve

    def _join(self, curve: Curve, now_ns: int) -> Curve:
        """Return the strategy's curve from the current one and the newest plan; keep a ramp."""
        commanded = prune(curve, now_ns)
        if isinstance(commanded, Fade) and commanded.stays:
            return replace(commanded, new=self._join(commanded.new, now_ns))
        joined = self._strategy.join(
            Junction(commanded=commanded, plans=self._plans, now_ns=now_ns, mix=self._space.mix)
        )
        if self._changed and not isinstance(joined, Fade):
            return self._ramp(commanded, joined, now_ns, self._blend_s)
        return joined

    def _ramp(self, old: Curve, new: Curve, now_ns: int, length_s: float) -> Curve:
        return fade(old, new, now_ns, length_s, stays=True, mix=self._space.mix)

    def engage(self, measured: Sequence[ArmPose], now_ns: int) -> None:
        """
        Ramp from the measured poses to the plan over `engage_s`.

        Without a plan, the ramp leads to the next one that arrives.
        """
        with self._lock:
            self._now_ns = now_ns = max(now_ns, self._now_ns)
            hold = Hold(tuple(map(self._space.start, measured)), now_ns)
            plan = self._plans[-1] if self._plans and self._plans[-1].end_ns > now_ns else None
            self._engaging = plan is None
            self._curve = self._ramp(hold, plan, now_ns, self._engage_s) if plan else hold

    def take(self, now_ns: int) -> tuple[ArmPose, ...] | None:
        """
        Return the targets for now, one per arm, or None when there is no plan: hold.

        The gripper is the model's raw probability, or NaN to keep its position (after `engage`).
        A plan that is not replaced stops at its last anchor; after that the result is None.
        """
        with self._lock:
            self._now_ns = now_ns = max(now_ns, self._now_ns)
            curve = self._curve
        if curve is None or now_ns > curve.settled_ns():
            return None
        return self._space.arms(curve.at(now_ns))

    def ahead(self, now_ns: int, period_s: float, count: int) -> tuple[tuple[State, ...], ...]:
        """Return the states of all arms after 1 to `count` periods, as far as the plan leads."""
        with self._lock:
            curve = self._curve
        if curve is None:
            return ()
        end_ns, period_ns = curve.settled_ns(), round(period_s * NANOSECONDS)
        times = (now_ns + index * period_ns for index in range(1, count + 1))
        return tuple(tuple(curve.at(time_ns)) for time_ns in times if time_ns <= end_ns)

    def plan(self, now_ns: int, period_s: float, count: int) -> Chunk | None:
        """
        Return the targets of the next `count` periods, as a chunk observed at `now_ns`.

        Its `first_index` is that of the newest plan. None without a plan.
        It is the prefix of real-time chunking, and the proprioception of checkpoints that get
        the commanded pose.
        """
        with self._lock:
            curve, plans = self._curve, self._plans
        if curve is None or not plans or now_ns > curve.settled_ns():
            return None
        first, period_ns = plans[-1].first_index, round(period_s * NANOSECONDS)
        first_ns, anchors = now_ns + first * period_ns, count + 1 - first
        actions = sampled(curve, first_ns, period_ns, anchors, self._space)
        return Chunk(
            stamp_ns=now_ns,
            period_s=period_s,
            actions=np.nan_to_num(actions),  # NaN: a gripper that keeps its position
            sequence=plans[-1].sequence,
            first_index=first,
            joint_counts=self._space.joint_counts,
        )

    def remaining_s(self, now_ns: int) -> float:
        """Return how much of the newest plan is left [s]; 0 when there is none."""
        with self._lock:
            end_ns = self._plans[-1].end_ns if self._plans else now_ns
        return max(end_ns - now_ns, 0) / NANOSECONDS

    def age_s(self, now_ns: int) -> float | None:
        """Return the mean age of the observations behind the target, weighted by share [s]."""
        with self._lock:
            curve = self._curve
        return None if curve is None else (now_ns - curve.stamp_at(now_ns)) / NANOSECONDS

    def clear(self, not_before_ns: int = 0) -> None:
        """
        Drop every plan, for example on a new instruction or a fault.

        :param not_before_ns: refuse chunks of older observations as `older`, because they were
            requested before the instruction changed.
        """
        with self._lock:
            self._forget()
            self._not_before_ns = max(self._not_before_ns, not_before_ns)
