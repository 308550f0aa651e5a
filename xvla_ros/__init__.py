"""
Drive robot arms with X-VLA policies over ROS 2.

The layers, each importing only what stands before it: ``core`` (numpy and scipy), ``model``
(torch), ``control`` (kinematics and drivers), ``sim`` (MuJoCo), ``serve`` and ``adapt``, ``nodes``
(rclpy), ``tools`` (the ``xvla`` command).
"""

from pkgutil import extend_path

# The generated messages (xvla_ros.msg, xvla_ros.action) are installed, the sources may be imported
# from a checkout: one package, two places. Every `xvla_ros` folder on sys.path becomes part of it.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'
