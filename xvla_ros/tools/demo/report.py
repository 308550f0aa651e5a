# SPDX-License-Identifier: Apache-2.0
"""The demo's results: summary.json, a table, a strip of images and a video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.ticker import LatenessRecord

STRIP_FRAMES = 6
VIDEO_FPS = 10
MARGIN_PX = 4
CAPTION_PX = 14


@dataclass(kw_only=True, slots=True)
class Episode:
    """
    One scene.

    seconds: simulated time until the block was reached, or the end. lifted: whether all blocks of
    the task were lifted. wrong: colours of others that were picked up. outcome: how it ended, in a
    word. stops: why the controller or the policy stopped the arms, each time.
    """

    number: int
    instruction: str
    succeeded: bool = False
    lifted: bool = False
    wrong: tuple[str, ...] = ()
    seconds: float = 0.0
    best_m: float = float('inf')
    chunks: int = 0
    outcome: str = ''
    stops: list[str] = field(default_factory=list)
    frames: list[NDArray[np.uint8]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """
    All episodes of a run.

    real_time_factor: simulated over wall time. moved_while_holding_mm: the largest distance that
    a tool moved while the policy said hold, see Stillness. controller_stops: how often the
    controller stopped the arms until it was reset, as it counts.
    """

    episodes: Sequence[Episode]
    real_time_factor: float
    moved_while_holding_mm: float
    controller_stops: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunFiles:
    """Records of the control process and of its twin; `facts` is the JSON of timing_log.py."""

    ticks: LatenessRecord
    twin: LatenessRecord
    facts: dict[str, Any]


def summarise(embodiment: Embodiment, seed: int, run: Run, files: RunFiles) -> dict[str, Any]:
    """Return the content of summary.json. Its keys are fixed because other programs read it."""
    episodes = run.episodes
    inference_ms = np.array(files.facts['inference_s'] or [np.nan]) * 1e3
    p50_ms, p99_ms = np.percentile(inference_ms, (50, 99))
    return {
        'embodiment': embodiment.robot,
        'action_mode': embodiment.policy.action_mode,
        'instruction': episodes[0].instruction if episodes else '',
        'instructions': [e.instruction for e in episodes],
        'episodes': len(episodes),
        'successes': sum(e.succeeded for e in episodes),
        'lifts': sum(e.lifted for e in episodes),
        'wrong_colour': sum(bool(e.wrong) for e in episodes),
        'seeds': [[seed, e.number] for e in episodes],
        'chunks': files.facts['chunks'],
        'faults': files.facts['faults'],
        'inference_ms': {'p50': round(float(p50_ms), 2), 'p99': round(float(p99_ms), 2)},
        'control': {
            'rate_hz': round(1e9 / files.ticks.period_ns, 3),
            'lateness_ms_p99': round(files.ticks.percentile_ms(99), 3),
            'twin_lateness_ms_p99': round(files.twin.percentile_ms(99), 3),
            'missed_percent': round(files.ticks.missed_percent(files.twin), 4),
            'starved_ticks': files.facts['starved_ticks'],
        },
        'controller_stops': run.controller_stops,
        'real_time_factor': round(run.real_time_factor, 3),
        'moved_while_holding_mm': round(run.moved_while_holding_mm, 2),
    }


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write summary.json."""
    path.write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')


def table(episodes: Sequence[Episode], summary: dict[str, Any]) -> str:
    """Return the table that the demo prints at its end."""
    rows = [
        f'{"episode":>7}  {"instruction":<26}{"result":<11}{"time":>7}{"nearest":>10}{"chunks":>8}'
    ]
    for e in episodes:
        result = result_of(e)
        rows.append(
            f'{e.number:>7}  {e.instruction:<26}{result:<11}{e.seconds:>6.1f}s'
            f'{e.best_m * 100:>8.1f}cm{e.chunks:>8}'
        )
        rows += [f'         stopped: {reason}' for reason in e.stops]
    control = summary['control']
    rows.append(
        f'{summary["successes"]} of {summary["episodes"]} reached, {summary["lifts"]} lifted · '
        f'inference '
        f'{summary["inference_ms"]["p50"]} ms (p99 {summary["inference_ms"]["p99"]}) · '
        f'control {control["rate_hz"]:g} Hz, late p99 {control["lateness_ms_p99"]} ms '
        f'(twin {control["twin_lateness_ms_p99"]}), starved {control["starved_ticks"]}'
    )
    rows.append(
        f'simulated at {summary["real_time_factor"]:.2f} of real time · moved at most '
        f'{summary["moved_while_holding_mm"]:.1f} mm while holding · '
        f'{summary["controller_stops"]} controller stops'
    )
    if summary['faults']:
        counted = ', '.join(f'{reason} ({n} times)' for reason, n in summary['faults'].items())
        rows.append(f'held or refused: {counted}')
    return '\n'.join(rows)


def result_of(episode: Episode) -> str:
    """Return what came of an episode, in a word or two."""
    if episode.wrong:
        return f'took {"+".join(episode.wrong)}'
    if episode.lifted:
        return 'lifted'
    return 'reached' if episode.succeeded else episode.outcome


def write_strip(path: Path, episodes: Sequence[Episode]) -> None:
    """Write one image with a row per episode; time goes from left to right."""
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
        done = episode.succeeded or episode.lifted
        result = result_of(episode) if done else f'{episode.best_m * 100:.1f} cm off'
        draw.text((MARGIN_PX, top), f'{episode.instruction}: {result}', fill='black')
        picks = np.linspace(0, len(episode.frames) - 1, STRIP_FRAMES).round().astype(int)
        for column, pick in enumerate(picks):
            left = MARGIN_PX + column * (width + MARGIN_PX)
            sheet.paste(Image.fromarray(episode.frames[pick]), (left, top + CAPTION_PX))
    sheet.save(path)


def write_video(path: Path, episodes: Sequence[Episode]) -> None:
    """Write a video of all episodes, one after the other."""
    import imageio.v2 as imageio

    frames = [frame for episode in episodes for frame in episode.frames]
    if not frames:
        return
    writer: Any
    with imageio.get_writer(
        path, fps=VIDEO_FPS, codec='libx264', macro_block_size=8, quality=8
    ) as writer:
        for frame in frames:
            writer.append_data(frame)
