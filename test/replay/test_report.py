# SPDX-License-Identifier: Apache-2.0
"""The report: one page with everything in it, also of bags that hold little, in a browser."""

import re
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='messages are read as the classes of ROS')

from bags import copy_bag, write_strings

from xvla_ros.tools.cli import main

SECTIONS = ('cameras', 'path', 'channels', 'gripper', 'latency', 'timeline', 'verdicts')
BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'chrome'))), None)


@pytest.fixture(scope='module')
def page(simulated, tmp_path_factory):
    out = tmp_path_factory.mktemp('report') / 'report.html'
    assert main(['report', str(simulated), '--out', str(out)]) == 0
    return out


def test_everything_is_on_the_page(page):
    text = page.read_text()
    headings = [h.lower() for h in re.findall(r'<h2[^>]*>([^<]+)</h2>', text)]
    assert headings == list(SECTIONS)
    assert text.count('data:image/jpeg') == 16
    assert text.count('data:image/png') == len(SECTIONS) - 1


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert 'http' not in re.sub(r'base64,[A-Za-z0-9+/=]+', '', text)


def test_a_replay_takes_the_place_of_what_was_said_live(simulated, tmp_path):
    out = tmp_path / 'run'
    arguments = ['replay', str(simulated), '--deterministic', '--out', str(out), '--no-model']
    assert main(arguments) == 0
    page = tmp_path / 'report.html'
    assert main(['report', str(simulated), '--run', str(out), '--out', str(page)]) == 0
    assert f'the replay in {out}' in page.read_text()


def test_a_bag_without_a_policy_still_shows_what_it_has(simulated, tmp_path):
    page = tmp_path / 'report.html'
    bag = copy_bag(simulated, tmp_path / 'bag', keep=lambda raw: raw.topic == '/current_pose')
    assert main(['report', str(bag), '--embodiment', 'franka', '--out', str(page)]) == 0
    assert 'no topic' in page.read_text()


def test_a_bag_with_nothing_to_show_is_refused(tmp_path, capsys):
    page = tmp_path / 'report.html'
    bag = write_strings(tmp_path / 'bag')
    assert main(['report', str(bag), '--embodiment', 'franka', '--out', str(page)]) == 2
    assert 'nothing to report' in capsys.readouterr().err
    assert not page.exists()


def test_a_parameter_that_does_not_exist_is_refused(simulated, tmp_path, capsys):
    page = str(tmp_path / 'report.html')
    assert main(['report', str(simulated), '--out', page, '--set', 'limits.no_such=1']) == 2
    assert 'no_such' in capsys.readouterr().err


def test_a_bag_of_unknown_origin_needs_its_robot(tmp_path, capsys):
    assert main(['report', str(write_strings(tmp_path / 'bag'))]) == 2
    assert 'give its robot by --embodiment' in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason='no chromium: apt install chromium')
def test_a_browser_draws_it(page, tmp_path):
    screenshot = tmp_path / 'page.png'
    command = [BROWSER, '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars']
    subprocess.run(
        [*command, f'--user-data-dir={tmp_path / "profile"}', '--window-size=1120,3000',
         f'--screenshot={screenshot}', page.as_uri()],
        check=True, timeout=200, capture_output=True,
    )  # fmt: skip
    from PIL import Image

    drawn = np.asarray(Image.open(screenshot).convert('RGB')).astype(int)
    rows = (drawn.max(axis=2) - drawn.min(axis=2) > 40).any(axis=1)  # rows with colour in them
    assert drawn.shape[:2] == (3000, 1120)
    assert rows[:2600].mean() > 0.25
    ink = (drawn == (0x1B, 0x49, 0x65)).all(axis=2)  # what was executed, in every plot
    assert ink.sum() > 1000
