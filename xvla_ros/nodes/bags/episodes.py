# SPDX-License-Identifier: Apache-2.0
"""Records episodes, one bag each, that services start, stop and discard."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import shutil

from rcl_interfaces.msg import ParameterDescriptor
from std_srvs.srv import Trigger

from xvla_ros.bags.manifest import Recording
from xvla_ros.core.errors import ConfigError
from xvla_ros.nodes.bags.recorder import Recorder

PROMPT = 'prompt'


class Episodes:
    """
    The services ~/start, ~/stop and ~/discard, and the parameter `prompt`, of a recorder.

    Each episode is a bag folder/episode_NNN. Its instruction is the prompt at its start. Numbers
    continue after those in the folder.
    """

    def __init__(self, recorder: Recorder, folder: Path, recording: Recording) -> None:
        """Offer the services."""
        self._recorder, self._folder, self._recording = recorder, folder, recording
        self._last: Path | None = None
        description = ParameterDescriptor(description='Instruction of the next episode.')
        recorder.declare_parameter(PROMPT, recording.instruction, description)
        for name, act in (
            ('start', self._start),
            ('stop', self._stop),
            ('discard', self._discard),
        ):
            recorder.create_service(Trigger, f'~/{name}', self._answering(act))

    def _answering(
        self, act: Callable[[], tuple[bool, str]]
    ) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                response.success, response.message = act()
            except (ConfigError, OSError) as error:
                response.success, response.message = False, str(error)
            self._recorder.get_logger().info(response.message)
            return response

        return answer

    def _start(self) -> tuple[bool, str]:
        if self._recorder.writer is not None:
            return False, f'{self._recorder.writer.folder.name} is being recorded: stop it first'
        if not self._recorder.now_ns():
            return False, 'there is no /clock yet'
        prompt = str(self._recorder.get_parameter(PROMPT).value)
        folder = self._folder / f'episode_{self._next_number():03d}'
        self._recorder.open(folder, replace(self._recording, instruction=prompt))
        return True, f"{folder.name} has begun, prompt '{prompt}'"

    def _next_number(self) -> int:
        taken = [int(p.name[8:]) for p in self._folder.glob('episode_*') if p.name[8:].isdigit()]
        return max(taken, default=-1) + 1

    def _stop(self) -> tuple[bool, str]:
        writer = self._recorder.close()
        if writer is None:
            return False, 'no episode is being recorded'
        self._last = writer.folder
        lines = [f'{writer.folder.name}: {writer.messages} messages']
        return True, '\n'.join([*lines, *self._recorder.audit.lines()])

    def _discard(self) -> tuple[bool, str]:
        """Delete the episode that is being recorded, else the last one. It cannot be restored."""
        writer = self._recorder.close()
        folder = writer.folder if writer else self._last
        if folder is None:
            return False, 'there is no episode to discard'
        shutil.rmtree(folder)
        self._last = None
        return True, f'{folder.name} is deleted'
