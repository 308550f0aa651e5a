# SPDX-License-Identifier: Apache-2.0
"""What the demo leaves behind: summary.json, a table, a strip of images and a video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ticker import LatenessRecord

STRIP_FRAMES = 6
VIDEO_FPS = 10
MARGIN_PX = 4
CAPTION_PX = 14


@dataclass(kw_only=True, slots=True)
class Episode:
    """One attempt. seconds: until success or the end. outcome: how it ended, in a word."""

    number: int
    instruction: str
    succeeded: bool = False
    seconds: float = 0.0
    best_m: float = float('inf')
    chunks: int = 0
    outcome: str = ''
    frames: list[NDArray[np.uint8]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunFiles:
    """What the control process and its twin recorded; `facts` is policy_record.py's JSON."""

    ticks: LatenessRecord
    twin: LatenessRecord
    facts: dict[str, Any]


def summarise(robot: str, seed: int, episodes: Sequence[Episode], run: RunFiles) -> dict[str, Any]:
    """Return summary.json; its keys are fixed, outside checks read them."""
    inference_ms = np.array(run.facts['inference_s'] or [np.nan]) * 1e3
    p50_ms, p99_ms = np.percentile(inference_ms, (50, 99))
    return {
        'embodiment': robot,
        'instruction': episodes[0].instruction if episodes else '',
        'instructions': [e.instruction for e in episodes],
        'episodes': len(episodes),
        'successes': sum(e.succeeded for e in episodes),
        'seeds': [[seed, e.number] for e in episodes],
        'chunks': run.facts['chunks'],
        'faults': run.facts['faults'],
        'inference_ms': {'p50': round(float(p50_ms), 2), 'p99': round(float(p99_ms), 2)},
        'control': {
            'rate_hz': round(1e9 / run.ticks.period_ns, 3),
            'lateness_ms_p99': round(run.ticks.percentile_ms(99), 3),
            'twin_lateness_ms_p99': round(run.twin.percentile_ms(99), 3),
            'missed_percent': round(run.ticks.missed_percent(run.twin), 4),
            'starved_ticks': run.facts['starved_ticks'],
        },
    }


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write summary.json."""
    path.write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')


def table(episodes: Sequence[Episode], summary: dict[str, Any]) -> str:
    """Return the final table."""
    rows = [
        f'{"episode":>7}  {"instruction":<26}{"result":<10}{"time":>7}{"nearest":>10}{"chunks":>8}'
    ]
    for e in episodes:
        result = 'reached' if e.succeeded else e.outcome
        rows.append(
            f'{e.number:>7}  {e.instruction:<26}{result:<10}{e.seconds:>6.1f}s'
            f'{e.best_m * 100:>8.1f}cm{e.chunks:>8}'
        )
    control = summary['control']
    rows.append(
        f'{summary["successes"]} of {summary["episodes"]} reached · inference '
        f'{summary["inference_ms"]["p50"]} ms (p99 {summary["inference_ms"]["p99"]}) · '
        f'control {control["rate_hz"]:g} Hz, late p99 {control["lateness_ms_p99"]} ms '
        f'(twin {control["twin_lateness_ms_p99"]}), starved {control["starved_ticks"]}'
    )
    if summary['faults']:
        counted = ', '.join(f'{reason} ({n} times)' for reason, n in summary['faults'].items())
        rows.append(f'held or refused: {counted}')
    return '\n'.join(rows)


def write_strip(path: Path, episodes: Sequence[Episode]) -> None:
    """Write one image: a row per episode, time from left to right."""
    from PIL import Image, ImageDraw

    shown = [e for e in episodes if e.frames]
    if not shown:
        return
    height, width = shown[0].frames[0].shape[:2]
    row_px = height + CAPTION_PX + MARGIN_PX
    size = (STRIP_FRAMES * (width + MARGIN_PX) + MARGIN_PX, len(shown) * row_px + MARGIN_PX)
    sheet = Image.new('RGB', size, 'white')
    draw = ImageDraw.Draw(sheet)
    for row, episode in enumerate(shown):
        top = MARGIN_PX + row * row_px
        result = 'reached' if episode.succeeded else f'{episode.best_m * 100:.1f} cm off'
        draw.text((MARGIN_PX, top), f'{episode.instruction}: {result}', fill='black')
        picks = np.linspace(0, len(episode.frames) - 1, STRIP_FRAMES).round().astype(int)
        for column, pick in enumerate(picks):
            left = MARGIN_PX + column * (width + MARGIN_PX)
            sheet.paste(Image.fromarray(episode.frames[pick]), (left, top + CAPTION_PX))
    sheet.save(path)


def write_video(path: Path, episodes: Sequence[Episode]) -> None:
    """Write all episodes one after the other."""
    import imageio.v2 as imageio

    frames = [frame for episode in episodes for frame in episode.frames]
    if not frames:
        return
    with imageio.get_writer(
        path, fps=VIDEO_FPS, codec='libx264', macro_block_size=8, quality=8
    ) as writer:
        for frame in frames:
            writer.append_data(frame)
