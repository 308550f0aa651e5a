# SPDX-License-Identifier: Apache-2.0
"""
The base class of our lifecycle nodes.

rclpy on Jazzy drops an exception that a transition callback raises. This class logs it as one line
and tears down what the transition had already set up.
"""

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from xvla_ros.core.errors import one_line, show_stack


class ManagedNode(LifecycleNode):
    """
    A lifecycle node. Subclasses override setup, start, stop and teardown.

    An exception in one of them makes the transition fail.
    """

    def setup(self) -> None:
        """Make everything that the node needs; raise XvlaError to refuse the configuration."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """Stop working; the last message sent is a hold. Must work in every state."""

    def teardown(self) -> None:
        """Release what setup made. Must work after a setup that failed half way."""

    def refused(self, text: str) -> None:
        """React to a transition that failed; the reason is already logged."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Set up, or tear down what was set up and stay unconfigured."""
        return self._run('configure', self.setup, undo=self.teardown)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start, or stop what was started and stay inactive."""
        result = self._run('activate', self.start, undo=self.stop)
        return super().on_activate(state) if result == TransitionCallbackReturn.SUCCESS else result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the work first, then the publishers."""
        result = self._run('deactivate', self.stop)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._run('clean up', self.teardown)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release everything."""
        return self._run('shut down', self._end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured, from where the node can be configured again."""
        return self._run('recover from an error', self._end)

    def _end(self) -> None:
        self.stop()
        self.teardown()

    def _run(
        self, name: str, action: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Do one transition's work; after an exception log it, undo the work, return failure."""
        try:
            action()
        except Exception as error:
            text = one_line(error)
            show_stack(error)
            self.get_logger().error(f'cannot {name}: {text}')
            self.refused(f'cannot {name}: {text}')
            if undo is None:
                return TransitionCallbackReturn.ERROR
            return self._undo(name, undo)
        return TransitionCallbackReturn.SUCCESS

    def _undo(self, name: str, undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            undo()
        except Exception as error:
            self.get_logger().error(f'cannot undo {name}: {one_line(error)}')
            show_stack(error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.FAILURE
