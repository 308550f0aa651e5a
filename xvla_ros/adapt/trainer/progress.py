# SPDX-License-Identifier: Apache-2.0
"""Shows and writes how a run goes: a bar, a line of JSON per step, TensorBoard where asked for."""

from contextlib import AbstractContextManager
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xvla_ros.adapt.trainer.trainer import Step, Trainer
from xvla_ros.core.errors import ConfigError

LOG = 'log.jsonl'


def training_folder(checkpoint: Path) -> Path:
    """Return where the state and the log of a run are: beside its checkpoint, not in it."""
    return checkpoint.with_name(f'{checkpoint.name}-training')


class Progress(AbstractContextManager['Progress']):
    """
    Follows a trainer.

    Lines of the log that a run which goes on will write again are dropped.
    """

    def __init__(
        self, trainer: Trainer, folder: Path, *, tensorboard: bool = False, quiet: bool = False
    ) -> None:
        """
        Open the log.

        :param quiet: write nothing; of several processes all but one are quiet.
        :raises ConfigError: TensorBoard is asked for and not installed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._quiet = folder / LOG, quiet
        self._board = board(folder) if tensorboard and not quiet else None
        kept = [line for line in lines(self._file) if line['step'] <= trainer.done]
        if not quiet:
            self._file.write_text(''.join(json.dumps(line) + '\n' for line in kept))
        self._bar = tqdm(
            total=trainer.plan.steps, initial=trainer.done, unit='step', disable=quiet or None
        )

    def show(self, step: Step) -> None:
        """Show a step that has been taken."""
        self._bar.set_description(step.stage, refresh=False)
        self._bar.set_postfix({n: f'{v:.3g}' for n, v in step.losses.items()}, refresh=False)
        self._bar.update()
        scalars = {f'loss/{n}': v for n, v in step.losses.items()}
        scalars |= {f'gradient/{part}': v for part, v in step.norms.items()}
        self.write(step.number, {'stage': step.stage, 'loss': step.loss, **scalars})

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Add a line to the log, numbers to TensorBoard too."""
        if self._quiet:
            return
        with self._file.open('a', encoding='utf-8') as file:
            file.write(json.dumps({'step': step, **values}) + '\n')
        if self._board:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(name, value, step)

    def __exit__(self, *error: object) -> None:
        """Close the bar."""
        self._bar.close()
        if self._board:
            self._board.close()


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, none of a file that is not there; a line cut off is left out."""
    found = []
    for line in file.read_text(encoding='utf-8').splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def board(folder: Path) -> Any:
    """
    Return a writer for TensorBoard.

    :raises ConfigError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            f"--tensorboard: {error}; pip install 'xvla_ros[adapt]' or tensorboard"
        ) from error
    return SummaryWriter(folder)
