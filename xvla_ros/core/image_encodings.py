# SPDX-License-Identifier: Apache-2.0
"""Names of image encodings that settings and nodes share (sensor_msgs/image_encodings.hpp)."""

# OpenCV's type names, which name no colours -> (values of a pixel, bytes of a value).
UNNAMED = {
    '8UC1': (1, 1),
    '8UC2': (2, 1),
    '8UC3': (3, 1),
    '8UC4': (4, 1),
    '16UC1': (1, 2),
    '16UC3': (3, 2),
    '16UC4': (4, 2),
}
# Encodings that a camera's settings may give to images with such a name.
DECLARABLE = (
    *('rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8'),
    *('rgb16', 'bgr16', 'rgba16', 'bgra16', 'mono16'),
    *('bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8'),
    *('bayer_rggb16', 'bayer_bggr16', 'bayer_gbrg16', 'bayer_grbg16'),
    *('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'),
)
# Part of the format, encoding or message type of a video stream -> image_transport's name of the
# plugin that decodes it.
VIDEO_FORMATS = {
    'ffmpeg': 'ffmpeg',
    'h264': 'ffmpeg',
    'h.264': 'ffmpeg',
    'h265': 'ffmpeg',
    'hevc': 'ffmpeg',
    'av1': 'ffmpeg',
    'vp8': 'ffmpeg',
    'vp9': 'ffmpeg',
    'compressedvideo': 'foxglove',
    'theora': 'theora',
}
