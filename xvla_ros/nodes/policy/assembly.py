# SPDX-License-Identifier: Apache-2.0
"""Connects the parts of one configured policy: worker, control thread, interfaces, outputs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode

from xvla_ros.action import RunTask
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.strategies import make_strategy
from xvla_ros.inputs.arm_state import ArmReader, ArmStates
from xvla_ros.msg import ActionChunk, PolicyStatus
from xvla_ros.nodes.common.polled import RosGraph
from xvla_ros.nodes.policy.arming import Arming
from xvla_ros.nodes.policy.chunk_service import Planner
from xvla_ros.nodes.policy.control_thread import ControlThread
from xvla_ros.nodes.policy.live_parameters import LiveParameter, LiveParameters, LiveSettings
from xvla_ros.nodes.policy.publishers import PolicyOutputs
from xvla_ros.nodes.policy.run_task import TaskServer
from xvla_ros.nodes.policy.services import Interfaces, Requests
from xvla_ros.nodes.policy.status import diagnostics_message, Lateness, status_message
from xvla_ros.nodes.policy.timing_log import RunRecord
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.home import home_poses
from xvla_ros.runtime.policy import PolicyRuntime
from xvla_ros.runtime.state import Command, Snapshot, State
from xvla_ros.runtime.worker_listening import WorkerEvents
from xvla_ros.runtime.worker_messages import Answer, Waiting, WORKER
from xvla_ros.runtime.worker_supervisor import WorkerSupervisor


@dataclass(frozen=True, kw_only=True, slots=True)
class Active:
    """The parts that exist while the policy is active."""

    interfaces: Interfaces
    thread: ControlThread


class PolicyCore:
    """One configured policy: `load` it, `start` and `stop` it with activation, then `close` it."""

    def __init__(
        self,
        node: LifecycleNode,
        clock: Clock,
        embodiment: Embodiment,
        worker_arguments: Sequence[str],
        changed: Callable[[], None],
        on_chunk: Callable[[ActionChunk], None],
    ) -> None:
        """
        Make the parts that cannot move the robot.

        :param changed: called from any thread when the state has changed.
        :param on_chunk: called on the supervisor's thread with each checked chunk.
        :raises XvlaError: an arm's state cannot be read with this embodiment.
        """
        self._node, self._clock = node, clock
        self._changed = changed
        self._record = RunRecord()
        self._active: Active | None = None
        self._worker = WorkerSupervisor(embodiment, worker_arguments, self._worker_events())
        with ExitStack() as made:
            states = ArmStates(RosGraph(node), embodiment)
            made.callback(states.close)
            self._outputs = PolicyOutputs(node, embodiment, lambda: self._arming.look(), on_chunk)
            made.callback(self._outputs.close)
            arms = ArmReader(embodiment, states, clock)
            self._runtime = PolicyRuntime(
                embodiment, clock, arms, self._outputs, self._worker.send
            )
            self._control = self._runtime.control
            self._settings = LiveSettings(embodiment, self._runtime)
            self._tasks = TaskServer(node, clock, self._follow, self._snapshot)
            made.callback(self._tasks.close)
            made.callback(LiveParameters(node, self._live_parameters()).close)
            self._arming = self._make_arming(embodiment.control.start_armed)
            made.callback(self._arming.close)
            has_model = all(arm.urdf for arm in embodiment.arms.values())
            self._home = home_poses(embodiment) if has_model else None
            made.callback(self._worker.close)  # closed first
            self._made = made.pop_all()

    def _worker_events(self) -> WorkerEvents:
        return WorkerEvents(
            answer=self._on_answer,
            waiting=self._on_waiting,
            lost=self._on_lost,
            restarted=self._on_restarted,
            failed=self._on_failed,
        )

    def _make_arming(self, starts_armed: bool) -> Arming:
        return Arming(
            self._node,
            self._clock,
            self._control,
            self._outputs,
            self._on_controller,
            self._changed,
            starts_armed=starts_armed,
        )

    def load(self) -> None:
        """
        Start the worker with its checkpoint.

        :raises XvlaError: the checkpoint cannot be loaded or does not fit the embodiment.
        """
        self._worker.start()

    def _live_parameters(self) -> dict[str, LiveParameter]:
        strategy = LiveParameter(
            check=lambda name: make_strategy(name, blend_s=0.0, ensemble_decay=0.0),
            apply=self._control.set_strategy,
        )
        checkpoint = LiveParameter(check=self._settings.check_checkpoint, apply=self._swap)
        instruction = LiveParameter(check=str, apply=self._on_instruction_parameter)
        return {
            'control.strategy': strategy,
            'policy.checkpoint': checkpoint,
            'policy.instruction': instruction,
            **self._settings.parameters(),
        }

    def close(self) -> None:
        """End the worker and close everything; also after a failed load."""
        self._made.close()

    def start(self) -> None:
        """Open the interfaces and start the control thread."""
        self._control.activate()
        self._control.set_strategy(self._node.get_parameter('control.strategy').value)
        requests = Requests(
            set_instruction=self._on_instruction, go_home=self._go_home, arm=self._arming.set
        )
        embodiment = self._settings.embodiment
        rate_hz = embodiment.control.rate_hz
        self._active = Active(
            interfaces=Interfaces(self._node, self._clock, embodiment, self._control, requests),
            thread=ControlThread(self._runtime, self._clock, rate_hz, self._changed),
        )
        self._tasks.start()
        self._active.thread.start()
        self._arming.look()
        self._follow(self._node.get_parameter('policy.instruction').value)

    def stop(self) -> None:
        """Stop the control thread, send a last hold, then close the interfaces."""
        active, self._active = self._active, None
        if active is None:
            return
        self._follow('')
        active.thread.stop()
        self._record.save(active.thread.record(), self._snapshot().counters)
        if self._control.armed:
            self._outputs.send(Command(targets=None, sequence=0), self._clock.now_ns())
        self._tasks.stop()
        active.interfaces.close()

    # Requests, on the executor's thread

    def _on_instruction(self, instruction: str) -> None:
        """End the running goal, drop its plan, and follow a new instruction."""
        self._tasks.end(RunTask.Result.OUTCOME_PREEMPTED, 'a newer instruction took over')
        self._follow(instruction.strip())

    def _on_instruction_parameter(self, instruction: str) -> None:
        """Follow a new instruction now; an inactive node follows it once it is active."""
        if self._active:
            self._on_instruction(instruction)

    def _follow(self, instruction: str) -> None:
        self._runtime.follow(instruction)
        self._outputs.follow(instruction)

    def _on_controller(self, stopped: Reason) -> None:
        self._runtime.heed_controller(stopped)
        self._changed()

    def _go_home(self) -> str:
        motion = self._runtime.motion_to(self._home)
        self._tasks.end(RunTask.Result.OUTCOME_PREEMPTED, 'going home')
        self._follow('')
        self._control.go_home(motion)
        return f'going home in {motion.duration_s:.1f} s'

    def _swap(self, checkpoint: str) -> None:
        """Hold, and restart the worker with another checkpoint."""
        embodiment = self._settings.embodiment
        policy = replace(embodiment.policy, checkpoint=checkpoint, adapter='')
        self._settings.embodiment = replace(embodiment, policy=policy)
        reason = Reason('checkpoint_change', f'changing to the checkpoint {checkpoint}', WORKER)
        self._worker.swap(self._settings.embodiment, reason)

    # Events of the worker, on the supervisor's thread

    def _on_answer(self, answer: Answer) -> None:
        received_ns = time.monotonic_ns()
        judged = self._runtime.hear(answer)
        if judged is not None:
            self._record.note(judged.chunk.sequence, answer.timing, received_ns)

    def _on_waiting(self, waiting: Waiting) -> None:
        self._runtime.hear(waiting)
        self._changed()

    def _on_lost(self, reason: Reason) -> None:
        self._runtime.lost(reason)
        self._node.get_logger().error(reason.text)
        self._changed()

    def _on_restarted(self) -> None:
        restarts = self._worker.restarts
        self._control.restarted(restarts)
        self._node.get_logger().info(f'the inference worker runs again (restart {restarts})')
        self._changed()

    def _on_failed(self, text: str) -> None:
        self._control.fault(Reason('worker_link', text), self._clock.now_ns())
        self._node.get_logger().error(text, throttle_duration_sec=1.0)
        self._changed()

    # Status

    @property
    def planner(self) -> Planner:
        """What serves plans to callers that execute them."""
        return Planner(follow=self._on_instruction, status=self._snapshot)

    @property
    def moving(self) -> bool:
        """Whether the arms are being moved."""
        return self._control.state(self._clock.now_ns()) in (State.ENGAGING, State.RUNNING)

    def status(self) -> PolicyStatus:
        """Return the current status."""
        lateness = self._active.thread.lateness() if self._active else Lateness()
        status = status_message(self._snapshot(), lateness, self._clock.now_ns())
        self._arming.show(status)
        return status

    def diagnostics(self) -> DiagnosticArray:
        """Return the current diagnostics."""
        name = self._node.get_fully_qualified_name()
        return diagnostics_message(name, self.status(), self._snapshot())

    def feedback(self, status: PolicyStatus) -> None:
        """Send a status to the task's client, and tell the worker if the plan has ended."""
        self._runtime.withdraw_plan()
        self._tasks.feedback(status)

    def _snapshot(self) -> Snapshot:
        return self._control.snapshot(self._clock.now_ns())
