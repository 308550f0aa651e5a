# SPDX-License-Identifier: Apache-2.0
"""A report as one self-contained HTML file."""

from base64 import b64encode
from html import escape

from xvla_ros.replay.report.data import ReportData
from xvla_ros.replay.report.figures import figures

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22303a; margin: 0 auto; max-width: 1080px;
  padding: 0 16px 48px; background: #fff; }
h1 { font-size: 24px; margin: 24px 0 4px; } h2 { font-size: 18px; margin: 32px 0 4px; }
p { margin: 2px 0 8px; color: #55646e; } img { max-width: 100%; display: block; }
table { border-collapse: collapse; margin: 12px 0; }
td { padding: 2px 16px 2px 0; vertical-align: top; } td:first-child { color: #55646e; }
.strip { display: flex; gap: 4px; margin-bottom: 8px; }
.strip figure { margin: 0; flex: 1 1 0; min-width: 0; }
.strip img { width: 100%; border-radius: 3px; } figcaption { font-size: 11px; color: #55646e; }
.warning { color: #a3360b; }
"""


def page(data: ReportData) -> str:
    """Return the whole page."""
    parts = [
        f'<h1>{escape(data.title)}</h1>',
        _table(data.facts),
        *_strips(data),
        *(_section(title, text, png) for title, text, png in figures(data)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{escape(data.title)}</title><style>{STYLE}</style></head>\n'
        f'<body>\n{"".join(parts)}\n</body></html>\n'
    )


def _table(facts: list[tuple[str, str]]) -> str:
    rows = ''.join(
        f'<tr><td>{escape(name)}</td><td{_mark(name)}>{escape(value)}</td></tr>\n'
        for name, value in facts
    )
    return f'<table>\n{rows}</table>\n'


def _mark(name: str) -> str:
    return ' class="warning"' if name in ('missing', 'damaged') else ''


def _strips(data: ReportData) -> list[str]:
    """Return one row of images per camera."""
    shown = {name: images for name, images in data.images.items() if images}
    if not shown:
        return []
    parts = ['<h2>Cameras</h2><p>Images as the policy gets them, from left to right.</p>\n']
    for name, images in shown.items():
        cells = ''.join(
            f'<figure><img alt="{escape(name)} at {time_s:.1f} s" src="{_inline(data, "jpeg")}">'
            f'<figcaption>{escape(name)} {time_s:.1f} s</figcaption></figure>'
            for time_s, data in images
        )
        parts.append(f'<div class="strip">{cells}</div>\n')
    return parts


def _section(title: str, text: str, png: bytes) -> str:
    return (
        f'<h2 id="{escape(title.lower())}">{escape(title)}</h2><p>{escape(text)}</p>'
        f'<img alt="{escape(title)}" src="{_inline(png, "png")}">\n'
    )


def _inline(data: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{b64encode(data).decode()}'
