# SPDX-License-Identifier: Apache-2.0
"""The settings of one camera view."""

from dataclasses import dataclass

from xvla_ros.core.arm_settings import HEADER, RECEIVE
from xvla_ros.core.image_encodings import DECLARABLE
from xvla_ros.core.schema import param


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """One camera view."""

    topic: str = param('Image topic.', topic=True)
    compressed: bool = param('The topic is sensor_msgs/CompressedImage instead of Image.', False)
    encoding: str = param(
        'Encoding, such as bgr8, of images whose own encoding names no colours (8UC3 and the '
        'like). Empty: such images are refused.',
        '',
        choices=('', *DECLARABLE),
    )
    stamp_source: str = param(
        'Time of an image: the stamp in its header, or its arrival (receive) for a driver '
        'that does not stamp or whose clock cannot be synchronised.',
        HEADER,
        choices=(HEADER, RECEIVE),
    )
    rotate_180: bool = param('Rotate the image by 180 degrees (LIBERO agentview).', False)
    max_age_s: float = param('Oldest image that may be used [s].', 0.3, low=0.005, high=10.0)
    max_frozen_m: float = param(
        'Hold when the camera has sent the same image with new stamps while a tool moved this '
        'far [m]. A real camera never sends two equal images. 0 = unchecked.',
        0.0,
        low=0.0,
        high=2.0,
    )
    rate_hz: float = param(
        'Expected rate of the camera [Hz]; doctor and diagnostics compare with it.',
        30.0,
        low=0.1,
        high=240.0,
    )

    def __post_init__(self) -> None:
        """Refuse an encoding for compressed images: their files contain it."""
        if self.compressed and self.encoding:
            raise ValueError(
                f"encoding is '{self.encoding}', but compressed is true; expected no encoding"
            )
