# SPDX-License-Identifier: Apache-2.0
"""A bag of two short episodes, simulated by the real parts, on demand."""

from checkout import ROOT
import pytest


@pytest.fixture(scope='session')
def bag(tmp_path_factory):
    """Return the folder of a bag of a simulated arm with two JPEG cameras, 2 episodes of 1.5 s."""
    pytest.importorskip('rclpy', reason='a bag is made from the messages of ROS')
    from xvla_ros.testing.simulated_bag import simulate_bag, Simulation

    folder = tmp_path_factory.mktemp('bags') / 'simulated'
    simulation = Simulation(seconds=3.0, size=(96, 72), episode_s=1.5, camera_rate_hz=10.0)
    simulate_bag(folder, ROOT / 'config' / 'franka_sim.yaml', simulation)
    return folder
