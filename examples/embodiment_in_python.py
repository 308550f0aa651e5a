# SPDX-License-Identifier: Apache-2.0
"""
Describe a robot in Python, have it checked, and write it as the file that the nodes read.

    python examples/embodiment_in_python.py my_lab.yaml
"""

from pathlib import Path
import sys

import yaml

from xvla_ros import load_embodiment, XvlaError
from xvla_ros.bringup import embodiment_file
from xvla_ros.core.embodiment import embodiment_from_parameters, read_parameter_file

# Begin with the robot that is nearest to yours. docs/embodiments.md lists every key.
parameters = read_parameter_file(embodiment_file('franka', sim=False))
parameters['robot'] = 'my_lab'
parameters['limits']['max_linear_speed_m_s'] = 0.1
parameters['cameras']['main']['topic'] = 'my_camera/color/image_raw'

robot = embodiment_from_parameters(parameters, 'my_lab')  # checks every value
print(robot.robot, 'moves at most', robot.limits.max_linear_speed_m_s, 'm/s')

file = Path(sys.argv[1])
file.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False))
assert load_embodiment(file) == robot
print('wrote', file)

try:
    load_embodiment(file, {'limits.max_linear_sped_m_s': 0.1})
except XvlaError as error:
    print('a misspelt key is refused:', error)
