# SPDX-License-Identifier: Apache-2.0
"""The results of a check as one HTML page: findings, images and motion."""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from html import escape
from io import BytesIO

import matplotlib
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.findings import Finding, OK
from xvla_ros.data.episodes import Episode
from xvla_ros.data.errors import DataError
from xvla_ros.data.source import Source
from xvla_ros.replay.report.page import STYLE
from xvla_ros.replay.view import jpeg
from xvla_ros.tools.printing import place

matplotlib.use('Agg')

WIDTH, SHOWN = 240, 5
MORE_STYLE = """
td.problem { color: #a3360b; font-weight: 600; } td.warning { color: #8a6100; }
.fix { color: #55646e; font-size: 13px; }
"""
# Most shown findings of one name.
MOST_LINES = 10


def page(title: str, found: Sequence[Finding], episodes: Sequence[Episode], source: Source) -> str:
    """Return the whole page."""
    parts = [f'<h1>{escape(title)}</h1>', _summary(found, source), _table(found)]
    if episodes:
        parts += [_colours(episodes[0]), *_sheet(episodes), _motion(episodes)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{escape(title)}</title><style>{STYLE}{MORE_STYLE}</style></head>\n'
        f'<body>\n{"".join(parts)}\n</body></html>\n'
    )


def _summary(found: Sequence[Finding], source: Source) -> str:
    counts = Counter(finding.level for finding in found)
    words = ', '.join(f'{counts[level]} {level}s' for level in ('problem', 'warning'))
    return f'<p>Format {escape(source.format)}: {words}.</p>\n'


def _table(found: Sequence[Finding]) -> str:
    seen: Counter[tuple[str, str]] = Counter()
    rows = []
    for finding in sorted(found, key=lambda f: ('problem', 'warning', OK).index(f.level)):
        seen[finding.level, finding.name] += 1
        if seen[finding.level, finding.name] > MOST_LINES:
            continue
        fix = f'<div class="fix">{escape(finding.fix)}</div>' if finding.fix else ''
        rows.append(
            f'<tr><td class="{finding.level}">{escape(finding.level)}</td>'
            f'<td>{escape(finding.name)}</td><td>{escape(place(finding))}</td>'
            f'<td>{escape(finding.found)}{fix}</td></tr>\n'
        )
    return f'<h2>Findings</h2><table>\n{"".join(rows)}</table>\n'


def _colours(episode: Episode) -> str:
    """Return the first images as they are read, and with red and blue swapped."""
    shown = _look(episode, len(episode) // 2)
    cells = [_cell(p, f'{n}: as it is read') + _cell(p[..., ::-1], f'{n}: red and blue swapped')
             for n, p in shown]  # fmt: skip
    return (
        '<h2>Colours</h2><p>If a right one looks natural, `colours` or `file_colours` in the '
        f'source file is wrong.</p><div class="strip">{"".join(cells)}</div>\n'
    )


def _sheet(episodes: Sequence[Episode]) -> list[str]:
    parts = ['<h2>Contact sheet</h2><p>As the policy sees them, main view first, left to right '
             'in time.</p>\n']  # fmt: skip
    for episode in episodes:
        title = f'Episode {episode.name}: {episode.instruction or "no instruction"}'
        parts.append(f'<p><b>{escape(title)}</b></p>\n')
        frames = np.linspace(0, len(episode) - 1, SHOWN).astype(int).tolist()
        looks = {frame: _look(episode, frame) for frame in frames}
        for index in range(max(map(len, looks.values()), default=0)):
            cells = [
                _cell(shown[index][1], f'{shown[index][0]}, frame {frame}')
                for frame, shown in looks.items()
                if index < len(shown)
            ]
            parts.append(f'<div class="strip">{"".join(cells)}</div>\n')
    return parts


def _look(episode: Episode, frame: int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the images of a frame by camera; none where they cannot be decoded."""
    try:
        images = episode.look(frame)
    except DataError:
        return []
    names = episode.cameras or tuple(map(str, range(len(images))))
    return list(zip(names, images, strict=True))


def _cell(image: NDArray[np.uint8], caption: str) -> str:
    data = b64encode(jpeg(np.ascontiguousarray(image), WIDTH)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{data}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
    )


def _motion(episodes: Sequence[Episode]) -> str:
    """Return height, path from above and opening of the first arm of some episodes."""
    figure = Figure(figsize=(10.8, 3.4), layout='constrained')
    above, height, gripper = figure.subplots(1, 3)
    for episode in episodes:
        for arm, style in zip(range(episode.openings.shape[1]), ('-', '--'), strict=False):
            x, y, z = episode.positions[:, arm].T
            above.plot(y, x, style, lw=1)
            above.plot(y[0], x[0], 'k.', ms=4)
            height.plot(episode.times_s, z, style, lw=1)
            gripper.plot(episode.times_s, episode.openings[:, arm], style, lw=1)
    above.set(title='from above, base frame', xlabel='y [m]', ylabel='x [m]')
    above.axis('equal')
    height.set(title='height', xlabel='s', ylabel='z [m]')
    gripper.set(title='gripper, 1 = open', xlabel='s', ylim=(-0.05, 1.05))
    drawn = BytesIO()
    figure.savefig(drawn, format='png', dpi=100)
    data = b64encode(drawn.getvalue()).decode()
    return (
        '<h2>Motion</h2><p>Points mark beginnings; a second arm is dashed. A gripper that closes '
        'at the lowest point and opens at the end has the right polarity.</p>'
        f'<img alt="motion" src="data:image/png;base64,{data}">\n'
    )
