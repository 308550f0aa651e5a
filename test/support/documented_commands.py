# SPDX-License-Identifier: Apache-2.0
"""The shell commands of README and docs: found, and split into words."""

from dataclasses import dataclass
from pathlib import Path
import re
import shlex

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md')))
SHELL = ('', 'bash', 'sh', 'console')  # languages of fenced blocks that hold commands
# A line of a block without a language is a command when it begins like one.
BEGIN = re.compile(
    r'(?:\(cd |V=|PYTHONPATH=|export |source |cd |make\b|ros2 |rosdep |python3? |pip |touch |'
    r'bash |nvidia-smi|serve run|ament_|colcon |xvla |(?:\.venv/bin/|scripts/)\S+)'
)
# A command within a sentence or a table.
INLINE = re.compile(
    r'`((?:make|ros2|colcon test|xvla|\.venv/bin/[^\s`]+|scripts/[^\s`]+)(?: [^`\n]+)?)`'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """page: relative to the checkout. text: one line, comment and continuation resolved."""

    page: str
    text: str

    @property
    def words(self):
        """Return the words, without a comment or what follows `&`."""
        words = shlex.split(self.text, comments=True)
        return words[: words.index('&')] if '&' in words else words


def blocks(text):
    """Yield the lines of each block of code that may hold shell commands."""
    found, language = [], None
    for line in [*text.splitlines(), '']:
        if line.startswith('```'):
            yield found
            found, language = [], None if language is not None else line[3:].strip()
        elif language is not None:
            found += [line] if language in SHELL else []
        elif line.startswith('    '):
            found.append(line[4:])
        else:
            yield found
            found = []


def commands():
    """Return every command of every page."""
    found = []
    for path in PAGES:
        page, text = path.relative_to(ROOT).as_posix(), path.read_text()
        for lines in blocks(text):
            joined = '\n'.join(lines).replace('\\\n', ' ').splitlines()
            begun = [line for line in joined if BEGIN.match(line)]
            found += [Command(page=page, text=part) for line in begun for part in parts(line)]
        outside = re.sub(r'```.*?```', '', text, flags=re.S)
        found += [Command(page=page, text=' '.join(m.split())) for m in INLINE.findall(outside)]
    return list(dict.fromkeys(found))


def parts(line):
    """Return the commands of a line that joins two with `&&`."""
    return [line] if line.startswith('(') else [part.strip() for part in line.split(' && ')]
