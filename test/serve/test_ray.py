# SPDX-License-Identifier: Apache-2.0
"""The server as a Ray Serve deployment; what needs Ray itself skips where it is not installed."""

import importlib.util
import socket

import numpy as np
import pytest

from xvla_ros.core.errors import ConfigError
from xvla_ros.serve.client import RemotePredictor
from xvla_ros.serve.ray import application

INSTALLED = importlib.util.find_spec('ray') is not None


@pytest.mark.parametrize('arguments', [{}, {'replicas': '2'}, {'checkpoint': '.', 'gpu': '1'}])
def test_arguments_that_fit_no_deployment_are_refused(arguments):
    with pytest.raises(ConfigError, match='expected checkpoint=DIR'):
        application(arguments)


@pytest.mark.skipif(INSTALLED, reason='Ray is installed')
def test_without_ray_the_error_says_what_to_install():
    with pytest.raises(ConfigError, match=r'pip install "ray\[serve\]"'):
        application({'checkpoint': '.'})


@pytest.fixture
def ray_url(checkpoint):
    ray = pytest.importorskip('ray', reason='optional: pip install "ray[serve]"')
    from ray import serve

    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=2 * 10**8)
    serve.start(http_options={'host': '127.0.0.1', 'port': port})
    serve.run(application({'checkpoint': str(checkpoint), 'replicas': '2'}), route_prefix='/')
    yield f'127.0.0.1:{port}'
    serve.shutdown()
    ray.shutdown()


def test_two_replicas_answer_both_protocols_as_one_policy(ray_url, policy, observation):
    for scheme in ('http', 'ws'):
        with RemotePredictor(f'{scheme}://{ray_url}', timeout_s=60.0) as remote:
            for _ in range(4):
                actions = remote.predict(**observation)
                np.testing.assert_allclose(actions, policy.predict(**observation), atol=2e-5)
