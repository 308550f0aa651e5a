# SPDX-License-Identifier: Apache-2.0
"""Why the robot must not move: blocks, which end by themselves, and one fault, which stays."""

# Blocks whose plan must not be followed when they end: it was made before what they report.
DROP_PLAN = ('inputs', 'observation', 'worker', 'state')
# Blocks that the inference worker raises: what it lacks to predict.
INPUTS = ('inputs', 'observation')


class Holds:
    """Reasons by source, and the latched fault. Not thread-safe: its owner locks."""

    def __init__(self) -> None:
        """Begin without any."""
        self.fault = ''
        self._blocks: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Tell whether anything forbids motion."""
        return bool(self.fault or self._blocks)

    def block(self, source: str, reason: str) -> bool:
        """Note a reason; return whether the source did not block before."""
        begun = source not in self._blocks
        if source == 'worker':
            self.unblock(*INPUTS)  # what it lacked matters no more, nor can it take that back
        self._blocks[source] = reason
        return begun

    def unblock(self, *sources: str) -> None:
        """Take back what sources said."""
        for source in sources:
            self._blocks.pop(source, None)

    @property
    def forbids_plans(self) -> bool:
        """Whether a plan made now must not be kept."""
        return bool(self.fault) or any(source in self._blocks for source in DROP_PLAN)

    @property
    def reason(self) -> str:
        """Why the robot must not move: the fault or the oldest block, empty when it may."""
        return self.fault or self.first()[1]

    def first(self) -> tuple[str, str]:
        """Return the source and reason of the oldest block, empty without one."""
        return next(iter(self._blocks.items()), ('', ''))
