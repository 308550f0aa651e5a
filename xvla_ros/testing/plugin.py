# SPDX-License-Identifier: Apache-2.0
"""
The pytest plugin: replay cases from a YAML file, one test each.

pytest -p xvla_ros.testing.plugin --pyargs xvla_ros.testing --replay-cases cases.yaml
"""

from pathlib import Path

import pytest

from xvla_ros.testing.replay_case import read_cases

FIXTURE = 'replay_case'


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup('xvla_ros')
    group.addoption(
        '--replay-cases', metavar='YAML', help='bags to replay, and what must come out'
    )
    group.addoption('--update-golden', action='store_true', help='take what comes out as right')


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a replay_case each of them."""
    if FIXTURE not in metafunc.fixturenames:
        return
    path = metafunc.config.getoption('--replay-cases')
    cases = read_cases(Path(path)) if path else []
    metafunc.parametrize(FIXTURE, cases, ids=[case.name for case in cases])


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are written instead of compared with."""
    return bool(request.config.getoption('--update-golden'))
