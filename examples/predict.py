# SPDX-License-Identifier: Apache-2.0
"""
Predict one chunk of motion from two images.

The images, the arm's pose and the instruction come from a simulated Franka; with a robot they
come from its cameras and its driver.

    python examples/predict.py
"""

from xvla_ros import load_embodiment, load_policy
from xvla_ros.bringup import embodiment_file
from xvla_ros.core.ee6d import pack, unpack
from xvla_ros.sim.scenes import EVALUATE, sample_scene
from xvla_ros.sim.world import World

robot = load_embodiment(embodiment_file('franka', sim=True))
layout = robot.policy.rotation_6d_layout
scene = sample_scene(robot, EVALUATE, seed=0, episode=0)
world = World(robot)
world.reset(scene)

images = [world.render(name, 320, 240) for name in robot.camera_names]  # (240, 320, 3) uint8 RGB
arm = world.tool_pose('arm')  # metres and a quaternion, in the arm's base frame
proprio = pack([arm], layout)  # (20,): position, Rotate6D, gripper; the second arm is zero

policy = load_policy('demo_policy')
chunk = policy.predict(images, proprio, scene.instruction, robot.policy.domain_id, steps=4)

print(f'{scene.instruction}: {chunk.shape[0]} anchors, {robot.policy.anchor_period_s} s apart')
print('tool now         ', arm.position.round(3))
for number in (0, 9, 19, 29):
    (planned,) = unpack(chunk[number], layout, count=1)
    seconds = (number + 1) * robot.policy.anchor_period_s
    print(f'tool in {seconds:.1f} s    ', planned.position.round(3))
print('the block lies at', world.block_in_base('arm', scene.colour).round(3))
