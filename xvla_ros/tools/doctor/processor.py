# SPDX-License-Identifier: Apache-2.0
"""Finds the fastest kernels on this processor; a first measurement takes seconds."""

from collections.abc import Iterator

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING

# hidden_size of the demo policy and of X-VLA.
WIDTHS = (128, 1024)


def processor_findings(embodiment: Embodiment | None) -> Iterator[Finding]:
    """Yield the chosen kernels with their times; packages may be missing."""
    try:
        yield _training()
        yield from map(_layers, WIDTHS)
        yield _attention()
        yield _kept()
        if embodiment is not None:
            yield from _dtype(embodiment)
    except ImportError as error:
        yield Finding(level=PROBLEM, name='arithmetic', found=str(error))


def _training() -> Finding:
    from xvla_ros.adapt.trainer.arithmetic import step_times, training_dtype
    from xvla_ros.model.measured import listed

    name = str(training_dtype()).removeprefix('torch.')
    found = f'{name}; per sample {listed(step_times())}'
    return Finding(level=OK, name='training', found=found)


def _layers(width: int) -> Finding:
    from xvla_ros.model.measured import listed
    from xvla_ros.model.packing import layer_choice, layer_times, NAMES, ROWS

    chosen = ' and '.join(layer_choice(dtype, width) for dtype in NAMES)
    found = f'{chosen}; per {ROWS} rows {listed(layer_times(width))}'
    return Finding(level=OK, name=f'layers of width {width}', found=found)


def _attention() -> Finding:
    from xvla_ros.model.attention import attention_times, explicit_is_faster
    from xvla_ros.model.measured import listed

    chosen = 'explicit' if explicit_is_faster() else 'fused'
    found = f'{chosen}; per two heads {listed(attention_times())}'
    return Finding(level=OK, name='attention in bfloat16', found=found)


def _kept() -> Finding:
    from xvla_ros.model.measured import cache_folder
    from xvla_ros.model.packing import layer_times

    if layer_times(WIDTHS[0]).file is not None:
        return Finding(level=OK, name='measurements', found=f'kept in {cache_folder()}')
    found = f'{cache_folder()} cannot be written: every process measures again, for seconds'
    fix = 'set XDG_CACHE_HOME to a folder that can be written'
    return Finding(level=WARNING, name='measurements', found=found, fix=fix)


def _dtype(embodiment: Embodiment) -> Iterator[Finding]:
    """Warn if the robot's file chooses the slower dtype."""
    from xvla_ros.model.packing import bfloat16_slower

    settings = embodiment.policy
    slower = bfloat16_slower(WIDTHS[-1], settings.device)
    if slower and settings.dtype == 'bfloat16' and not settings.server_url:
        fix = "set policy.dtype to 'float32'"
        yield Finding(level=WARNING, name='policy.dtype', found=slower, fix=fix)
