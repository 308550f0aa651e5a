# SPDX-License-Identifier: Apache-2.0
"""The documentation names what there is. `make docs` checks the links within the site, too."""

from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').rglob('*.md')])


def names(paths):
    return [path.relative_to(ROOT).as_posix() for path in paths]


@pytest.mark.parametrize('page', names(PAGES))
def test_what_a_page_links_to_exists(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r'\]\(([^)#:\s]+)(?:#[^)\s]*)?\)', text):
        assert ((ROOT / page).parent / target).exists(), f'{page} links to {target}'


def test_every_page_is_in_the_navigation():
    site = (ROOT / 'mkdocs.yml').read_text()
    for path in (ROOT / 'docs').rglob('*.md'):
        assert path.relative_to(ROOT / 'docs').as_posix() in site


def test_the_walk_through_the_code_names_files_that_exist():
    text = (ROOT / 'docs' / 'how-it-works.md').read_text()
    places = set(re.findall(r'`([a-z_/]+/[a-z_/]*(?:\.py)?)`', text))
    found = [place for place in places if not place.startswith('~')]
    assert len(found) > 20
    for place in found:
        bases = (ROOT, ROOT / 'xvla_ros')
        assert any((base / place).exists() for base in bases), f'{place} does not exist'


def test_the_walk_names_every_folder():
    text = (ROOT / 'docs' / 'how-it-works.md').read_text()
    for folder in (ROOT / 'xvla_ros').iterdir():
        if (folder / '__init__.py').exists():
            assert f'`{folder.name}`' in text, f'docs/how-it-works.md does not name {folder.name}'


def test_the_animated_image_is_small():
    assert (ROOT / 'docs' / 'images' / 'demo.gif').stat().st_size < 1_500_000
