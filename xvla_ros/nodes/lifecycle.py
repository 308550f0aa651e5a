# SPDX-License-Identifier: Apache-2.0
"""
The one place where lifecycle transitions meet our code.

rclpy on Jazzy swallows what a transition callback raises; here it is logged, partial state is torn
down, and an error that the user can fix (XvlaError) is one line instead of a stack trace.
"""

from collections.abc import Callable
import traceback

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from xvla_ros.core.errors import XvlaError


class ManagedNode(LifecycleNode):
    """A lifecycle node; subclasses set up, start, stop and tear down, and may raise in each."""

    def setup(self) -> None:
        """Make everything that the node needs; raise XvlaError to refuse."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """Stop working; the last thing sent is a hold. Must succeed from any state."""

    def teardown(self) -> None:
        """Let go of what setup made. Must succeed after a setup that failed half way."""

    def refused(self, text: str) -> None:
        """Take note that a transition failed, and why; the text is already logged."""

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
        """Let go of everything."""
        return self._run('clean up', self.teardown)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and let go of everything."""
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
        """Do one transition's work; on any exception say why, undo it, and report failure."""
        try:
            action()
        except Exception as error:
            text = str(error) if isinstance(error, XvlaError) else traceback.format_exc()
            self.get_logger().error(f'cannot {name}: {text}')
            self.refused(f'cannot {name}: {text}')
            if undo is None:
                return TransitionCallbackReturn.ERROR
            return self._undo(name, undo)
        return TransitionCallbackReturn.SUCCESS

    def _undo(self, name: str, undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            undo()
        except Exception:
            self.get_logger().error(f'cannot undo {name}: {traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.FAILURE
