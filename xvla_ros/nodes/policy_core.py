# SPDX-License-Identifier: Apache-2.0
"""The parts of one configured policy, connected: worker, control thread, interfaces, outputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode

from xvla_ros.action import RunTask
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.strategies import make_strategy
from xvla_ros.msg import PolicyStatus
from xvla_ros.nodes.arm_state import ArmStates
from xvla_ros.nodes.policy_control import PolicyControl
from xvla_ros.nodes.policy_home import home_poses, HomeMotion
from xvla_ros.nodes.policy_interfaces import Interfaces, Requests
from xvla_ros.nodes.policy_outputs import PolicyOutputs
from xvla_ros.nodes.policy_parameters import LiveParameter, LiveParameters
from xvla_ros.nodes.policy_plan import CommittedPlans
from xvla_ros.nodes.policy_record import RunRecord
from xvla_ros.nodes.policy_state import Command, State
from xvla_ros.nodes.policy_supervisor import WorkerEvents, WorkerSupervisor
from xvla_ros.nodes.policy_task import TaskServer
from xvla_ros.nodes.policy_thread import ArmReader, ControlThread
from xvla_ros.nodes.status import diagnostics_message, Lateness, status_message
from xvla_ros.nodes.worker_link import Answer, Task, Waiting


class PolicyCore:
    """Made by setup, started and stopped by activation, closed by teardown."""

    def __init__(
        self, node: LifecycleNode, worker_arguments: Sequence[str], changed: Callable[[], None]
    ) -> None:
        """Remember whom to serve; `changed` is called, from any thread, on a new state."""
        self._node, self._worker_arguments, self._changed = node, worker_arguments, changed
        self._clock = node.get_clock()
        self._worker: WorkerSupervisor | None = None
        self._plans: CommittedPlans | None = None
        self._thread: ControlThread | None = None
        self._closers: list[Callable[[], None]] = []
        self._tasks: TaskServer | None = None
        self._record = RunRecord()

    def load(self, embodiment: Embodiment) -> None:
        """
        Start the worker with its checkpoint, and everything that does not move.

        :raises XvlaError: the checkpoint cannot be loaded or does not fit the embodiment.
        """
        self._embodiment = embodiment
        self._control = PolicyControl(embodiment)
        events = WorkerEvents(
            answer=self._on_answer,
            waiting=self._on_waiting,
            lost=self._on_lost,
            restarted=self._on_restarted,
            failed=self._on_failed,
        )
        self._worker = WorkerSupervisor(embodiment, self._worker_arguments, events)
        self._plans = CommittedPlans(embodiment, self._control, self._worker.send)
        self._worker.start()
        states = ArmStates(self._node, embodiment)
        self._home = (
            home_poses(embodiment) if all(arm.urdf for arm in embodiment.arms.values()) else None
        )
        self._arms = ArmReader(embodiment, states, self._clock)
        self._outputs = PolicyOutputs(self._node, embodiment)
        live = LiveParameters(self._node, self._live_parameters())
        self._tasks = TaskServer(
            self._node, self._follow, lambda: self._control.snapshot(self._now_ns())
        )
        self._closers = [live.close, states.close, self._outputs.close, self._tasks.close]

    def _live_parameters(self) -> dict[str, LiveParameter]:
        strategy = LiveParameter(
            check=lambda name: make_strategy(name, blend_s=0.0, ensemble_decay=0.0, inpaint_s=0.0),
            apply=lambda name: self._control.queue.set_strategy(name),
        )
        checkpoint = LiveParameter(check=self._check_checkpoint, apply=self._swap)
        return {'control.strategy': strategy, 'policy.checkpoint': checkpoint}

    def close(self) -> None:
        """End the worker and withdraw everything; safe after a load that failed half way."""
        if self._worker:
            self._worker.close()
        for close in self._closers:
            close()
        self._closers = []

    def start(self) -> None:
        """Open the interfaces and begin to tick."""
        self._control.activate()
        self._control.queue.set_strategy(self._node.get_parameter('control.strategy').value)
        self._interfaces = Interfaces(
            self._node, self._embodiment, self._control,
            Requests(set_instruction=self._on_instruction, go_home=self._go_home),
        )  # fmt: skip
        self._tasks.start()
        self._thread = ControlThread(
            self._control,
            self._arms,
            self._outputs,
            self._clock,
            self._embodiment.control.rate_hz,
            self._changed,
        )
        self._thread.start()
        self._follow(self._embodiment.policy.instruction)

    def stop(self) -> None:
        """Stop the work, then send the last hold, then close the interfaces."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._follow('')
        thread.stop()
        counters = self._control.snapshot(self._now_ns()).counters
        self._record.save(thread.record(), counters)
        if self._control.armed:
            self._outputs.send(Command(targets=None, sequence=0), self._now_ns())
        self._tasks.stop()
        self._interfaces.close()

    # Asked from outside, on the executor's thread

    def _on_instruction(self, instruction: str) -> None:
        """Drop the old plan and the goal that it belonged to, and follow a new instruction."""
        self._tasks.end(RunTask.Result.OUTCOME_PREEMPTED, 'a newer instruction took over')
        self._follow(instruction.strip())

    def _follow(self, instruction: str) -> None:
        epoch = self._control.set_task(instruction)
        self._outputs.follow(instruction)
        self._worker.send(Task(instruction=instruction, epoch=epoch, active=bool(instruction)))

    def _go_home(self) -> str:
        if self._home is None:
            raise ConfigError('the start pose is unknown: an arm has no urdf')
        if not self._control.armed:
            raise ConfigError('cannot go home: the robot is not armed')
        if reason := self._control.held_by:
            raise ConfigError(f'cannot go home: {reason}')
        try:
            start = self._arms.read()
        except ObservationError as error:
            raise ConfigError(f'cannot go home: {error}') from error
        motion = HomeMotion(start, self._home, self._embodiment.limits, self._now_ns())
        self._tasks.end(RunTask.Result.OUTCOME_PREEMPTED, 'going home')
        self._follow('')
        self._control.go_home(motion)
        return f'going home in {motion.duration_s:.1f} s'

    def _check_checkpoint(self, checkpoint: str) -> None:
        """Refuse what cannot be loaded, as far as that shows at once."""
        if self._embodiment.policy.server_url:
            raise ConfigError('policy.server_url is asked: there is no checkpoint to change')
        if not checkpoint:
            raise ConfigError('policy.checkpoint must name a checkpoint')
        shared_file('resource', checkpoint)

    def _swap(self, checkpoint: str) -> None:
        """Hold, and let the worker start again with another checkpoint."""
        policy = replace(self._embodiment.policy, checkpoint=checkpoint)
        self._embodiment = replace(self._embodiment, policy=policy)
        self._worker.swap(self._embodiment, f'changing to the checkpoint {checkpoint}')

    # Told by the worker, on the supervisor's thread

    def _on_answer(self, answer: Answer) -> None:
        received_ns = time.monotonic_ns()
        judged = self._control.judge(answer, self._now_ns())
        if judged is None:
            return
        self._record.note(judged.chunk.sequence, answer.timing, received_ns)
        self._plans.judged(judged, answer.epoch, self._now_ns())
        self._outputs.show(judged.chunk, judged.verdict)

    def _on_waiting(self, waiting: Waiting) -> None:
        if waiting.reason:
            self._control.block(waiting.source, waiting.reason, self._now_ns())
        else:
            self._control.unblock(waiting.source)
        self._changed()

    def _on_lost(self, reason: str) -> None:
        """Hold at once; whether motion may come back by itself is the embodiment's choice."""
        now_ns = self._now_ns()
        self._control.block('worker', reason, now_ns)
        if not self._embodiment.control.resume_after_restart:
            self._control.fault(reason, now_ns)
        self._node.get_logger().error(reason)
        self._changed()

    def _on_restarted(self) -> None:
        self._control.restarted(self._worker.restarts)
        self._node.get_logger().info(
            f'the inference worker runs again (restart {self._worker.restarts})'
        )
        self._changed()

    def _on_failed(self, reason: str) -> None:
        self._control.fault(reason, self._now_ns())
        self._node.get_logger().error(reason, throttle_duration_sec=1.0)
        self._changed()

    # Shown

    @property
    def moving(self) -> bool:
        """Whether the arms are being moved."""
        return self._control.state(self._now_ns()) in (State.ENGAGING, State.RUNNING)

    def status(self) -> PolicyStatus:
        """Return the status as of now."""
        now_ns = self._now_ns()
        return status_message(
            self._control.snapshot(now_ns),
            self._thread.lateness() if self._thread else Lateness(),
            now_ns,
        )

    def diagnostics(self) -> DiagnosticArray:
        """Return the diagnostics as of now."""
        name = self._node.get_fully_qualified_name()
        return diagnostics_message(name, self.status(), self._control.snapshot(self._now_ns()))

    def feedback(self, status: PolicyStatus) -> None:
        """Tell of a status: whoever runs a task, and the worker when nothing is followed now."""
        if self._plans:
            self._plans.withdraw()
        if self._tasks:
            self._tasks.feedback(status)

    def _now_ns(self) -> int:
        return self._clock.now().nanoseconds
