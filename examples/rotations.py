# SPDX-License-Identifier: Apache-2.0
"""
Convert between rotation matrices and Rotate6D, in the two orders that X-VLA checkpoints use.

    python examples/rotations.py
"""

import numpy as np
from scipy.spatial.transform import Rotation

from xvla_ros import matrix_to_rotate6d, rotate6d_to_matrix

down = Rotation.from_euler('xyz', [180, 0, 30], degrees=True).as_matrix()  # (3, 3)

# The same rotation as six numbers: the first two columns of the matrix, written in two orders.
for layout in ('interleaved', 'contiguous'):
    six = matrix_to_rotate6d(down, layout)
    print(f'{layout:12}', six.round(3))
    assert np.allclose(rotate6d_to_matrix(six, layout), down)

# Read in the wrong order it is another rotation. So the order is part of a robot's file.
wrong = rotate6d_to_matrix(matrix_to_rotate6d(down, 'interleaved'), 'contiguous')
angle = (Rotation.from_matrix(wrong) * Rotation.from_matrix(down).inv()).magnitude()
print(f'in the wrong order: {np.degrees(angle):.0f} degrees off')

# Any shape in front works: a chunk of 30 anchors.
turns = Rotation.from_rotvec(np.linspace([0, 0, 0], [0, 0, 1.5], 30)).as_matrix()  # (30, 3, 3)
print(matrix_to_rotate6d(turns, 'interleaved').shape)
