# SPDX-License-Identifier: Apache-2.0
"""How often a test repeats: `make test` takes reduced counts, XVLA_TEST_FULL=1 all of them."""

import os

from hypothesis import HealthCheck, settings

FULL = os.environ.get('XVLA_TEST_FULL', '') not in ('', '0')

# Of the laws that take milliseconds an example; the others take the profile's number.
# Made before conftest.py loads its profiles, and so with what those say of a loaded machine.
FEW = settings(
    max_examples=10_000 if FULL else 25,
    derandomize=not FULL,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
