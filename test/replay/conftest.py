# SPDX-License-Identifier: Apache-2.0
"""Bags for the tests: one simulated by the real parts, on demand."""

from checkout import ROOT
import pytest


@pytest.fixture(scope='session')
def simulated(tmp_path_factory):
    """Return the folder of a short bag of a simulated arm with two JPEG cameras."""
    pytest.importorskip('rclpy', reason='a bag is made from the messages of ROS')
    from xvla_ros.testing.simulated_bag import simulate_bag, Simulation

    folder = tmp_path_factory.mktemp('bags') / 'simulated'
    simulation = Simulation(seconds=4.0, size=(96, 72), episode_s=2.0)
    simulate_bag(folder, ROOT / 'config' / 'franka_sim.yaml', simulation)
    return folder
