# SPDX-License-Identifier: Apache-2.0
"""A chunk as RViz markers, coloured by the safety gate's verdict, also in dry run."""

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from xvla_ros.msg import ActionChunk

COLOURS = {
    ActionChunk.VERDICT_ACCEPTED: ColorRGBA(r=0.1, g=0.8, b=0.2, a=0.9),
    ActionChunk.VERDICT_CLAMPED: ColorRGBA(r=1.0, g=0.7, b=0.0, a=0.9),
    ActionChunk.VERDICT_REJECTED: ColorRGBA(r=0.9, g=0.1, b=0.1, a=0.9),
}
LINE_WIDTH_M = 0.004
POINT_M = 0.012
TEXT_M = 0.03
# Markers disappear by themselves when the policy stops publishing.
LIFETIME = Duration(sec=2)


def chunk_markers(chunk: ActionChunk) -> MarkerArray:
    """Return a line with points per arm, and the gate's reasons at the chunk's first pose."""
    markers: list[Marker] = []
    firsts = chunk.steps[0].targets if chunk.steps else []
    shared = len({first.frame_id for first in firsts}) < len(firsts)
    for index, first in enumerate(firsts):
        # In TF each frame exists once, so arms with equal base frames have a prefix there.
        frame = f'{first.arm}/{first.frame_id}' if shared else first.frame_id
        points = [step.targets[index].pose.position for step in chunk.steps]
        for kind, size in ((Marker.LINE_STRIP, LINE_WIDTH_M), (Marker.SPHERE_LIST, POINT_M)):
            marker = _marker(chunk, frame, f'chunk/{first.arm}', kind, size)
            marker.points = points
            markers.append(marker)
        if index == 0:
            text = _marker(chunk, frame, 'verdict', Marker.TEXT_VIEW_FACING, TEXT_M)
            text.text = '\n'.join(chunk.reasons)
            text.pose.position = first.pose.position
            text.action = Marker.ADD if chunk.reasons else Marker.DELETE
            markers.append(text)
    return MarkerArray(markers=markers)


def _marker(chunk: ActionChunk, frame: str, namespace: str, kind: int, size_m: float) -> Marker:
    marker = Marker(
        ns=namespace,
        id=int(kind),
        type=kind,
        scale=Vector3(x=size_m, y=size_m, z=size_m),
        color=COLOURS[chunk.verdict],
        lifetime=LIFETIME,
    )
    marker.header.frame_id = frame
    marker.pose.orientation.w = 1.0
    return marker
