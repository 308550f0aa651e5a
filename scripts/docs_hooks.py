"""
What `make docs` adds to mkdocs: pages from files outside docs/, so that links to them hold.

A link is written as it works in the checkout (`../config/franka.yaml`). The file becomes a page of
the site and the link points there. A link to nothing stays as it is, and mkdocs refuses it.
"""

import os
from pathlib import Path
import re
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'
# File of the checkout -> page of the site.
PAGES = {
    'README.md': 'index.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.rst': 'changelog.md',
}
SOURCES = {page: source for source, page in PAGES.items()}
# A link to a path, not to an address or within the page: `](`, the path, the rest.
LINK = re.compile(r'(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))')
LANGUAGES = {'.yaml': 'yaml', '.urdf': 'xml', '.xml': 'xml', '.py': 'python'}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that come from the checkout, then what they and the others link to."""
    for source, page in PAGES.items():
        text = re.sub(r'\A\^+\n(.*)\n\^+$', r'# \1', (ROOT / source).read_text(), flags=re.M)
        files.append(File.generated(config, page, content=text))
    for file in list(files.documentation_pages()):
        for _, target, _ in LINK.findall(file.content_string):
            place = _place(file.src_uri, target)
            page = _page(place)
            if page.startswith('files/') and page not in files.src_uris and place.exists():
                files.append(File.generated(config, page, content=_shown(place)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Turn links as they are in the checkout into links of the site."""
    source = page.file.src_uri
    if source.startswith('files/'):
        return markdown

    def replaced(match: re.Match[str]) -> str:
        target = _page(_place(source, match[2]))
        return f'{match[1]}{os.path.relpath(target, os.path.dirname(source) or ".")}{match[3]}'

    return LINK.sub(replaced, markdown)


def _place(page: str, target: str) -> Path:
    """Return the file or folder that a link of a page means."""
    written_in = ROOT / SOURCES[page] if page in SOURCES else DOCS / page
    return Path(os.path.normpath(written_in.parent / target))


def _page(place: Path) -> str:
    """Return the page or image of the site that shows a file or folder."""
    if place.is_relative_to(DOCS):
        return place.relative_to(DOCS).as_posix()
    name = place.relative_to(ROOT).as_posix()
    return PAGES.get(name, f'files/{name}.md')


def _shown(place: Path) -> str:
    """Return a page that shows a text file, or lists a folder."""
    title = f'# {place.relative_to(ROOT)}\n\n'
    if place.is_dir():
        return title + '\n'.join(f'* `{path.name}`' for path in sorted(place.iterdir()))
    return f'{title}````{LANGUAGES.get(place.suffix, "text")}\n{place.read_text()}\n````\n'
