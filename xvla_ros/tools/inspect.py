# SPDX-License-Identifier: Apache-2.0
"""Show what a checkpoint contains, and which of its domain rows are trained."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import XvlaError

if TYPE_CHECKING:  # imports torch, which --help does not need
    from xvla_ros.model.inspection import Inspection
    from xvla_ros.model.training_data import TrainingData

MEGABYTE = 1e6
TRAINED = {True: 'yes', False: 'no', None: '?'}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        'checkpoint', type=Path, help='checkpoint directory, any layout, or demo_policy'
    )
    parser.add_argument(
        '--plot', type=Path, help='write an image of the similarity of the domain rows here'
    )


def run(args: Namespace) -> int:
    """Print the facts, and draw the similarity of the rows if requested."""
    from xvla_ros.model.inspection import inspect

    try:
        found = inspect(checkpoint_folder(args.checkpoint))
    except XvlaError as error:
        print(f'xvla inspect: {error}', file=sys.stderr)
        return 1
    print(describe(found))
    if args.plot is not None:
        draw(found, args.plot)
        print(f'image of the domain rows: {args.plot}')
    return 0


def describe(found: 'Inspection') -> str:
    """Return the facts as text."""
    config = found.config
    merged = f', with the adapter in {found.adapter}' if found.adapter else ''
    lines = [
        f'{found.path}: layout {found.layout}, {config.schema} config, {found.files} file(s), '
        f'{found.bytes / MEGABYTE:.1f} MB, {found.parameters / 1e6:.2f} M values '
        f'({", ".join(f"{count} {dtype}" for dtype, count in found.dtypes.items())}){merged}',
        f'action mode {config.action_mode}: {config.num_actions} actions of {found.real_dim} '
        f'numbers (network width {found.dim_action}), proprioception {found.dim_proprio}',
        f'{config.view_slots} view slots, {config.text_length} text tokens, head '
        f'{config.depth} x {config.hidden_size}, {config.len_soft_prompts} soft prompts',
        *data_lines(found.data),
        f'first anchor index {config.first_anchor_index}: the first action is due '
        + ('one period after' if config.first_anchor_index else 'at the stamp of')
        + ' its observation',
        'values per part: '
        + ', '.join(f'{name} {size / 1e6:.2f} M' for name, size in found.parts.items()),
        '',
        'domain  trained  prompts std  encoder std  decoder std  nearest (cosine)',
    ]
    lines += [
        f'{row.domain_id:6d}  {TRAINED[row.trained]:7s}  {row.prompt_std:11.4f}  '
        f'{row.encoder_std:11.4f}  {row.decoder_std:11.4f}  {row.nearest:7d} ({row.cosine:+.3f})'
        for row in found.rows
    ]
    if any(row.trained is None for row in found.rows):
        lines.append('trained ?: all biases are zero, so the weights do not show it')
    return '\n'.join(lines)


def data_lines(data: 'TrainingData') -> Iterator[str]:
    """Yield the facts about a checkpoint's training data; the authors' schema has none."""
    if data.features:
        shapes = (f'{name} {list(shape)}' for name, shape in data.features.items())
        yield f'features: {", ".join(shapes)}'
    if data.cameras:
        empty = f', then {data.empty} empty' if data.empty else ''
        yield f'cameras in order: {", ".join(data.cameras)}{empty}'
    if data.dataset:
        yield f'trained on: {data.dataset}'
    for name, statistics in data.statistics.items():
        stored = ', '.join(sorted(statistics.values)) or 'none stored'
        yield f'statistics of {name}: {statistics.mode} ({stored})'
        if statistics.spread is not None:
            numbers = ' '.join(f'{value:.3g}' for value in statistics.spread)
            yield f'spread of {name}: {numbers}'
    for warning in data.warnings():
        yield f'WARNING: {warning}'


def draw(found: 'Inspection', path: Path) -> None:
    """Draw the cosine of every pair of domain rows, and mark each row's nearest."""
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 6), layout='constrained')
    shown = axes.imshow(found.similarity, cmap='RdBu_r', vmin=-1, vmax=1)
    figure.colorbar(shown, ax=axes, label='cosine between rows')
    axes.plot(
        [row.nearest for row in found.rows],
        [row.domain_id for row in found.rows],
        'kx',
        label='nearest other row',
    )
    labels = [
        f'{row.domain_id}{" (untrained)" if row.trained is False else ""}' for row in found.rows
    ]
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xticks(range(len(labels)), [str(k) for k in range(len(labels))], fontsize=7)
    axes.set(xlabel='domain id', title=f'Domain rows of {Path(found.path).name}')
    axes.legend(loc='upper right', fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
