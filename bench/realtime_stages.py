# SPDX-License-Identifier: Apache-2.0
"""Where the time from a camera's stamp to the first target goes, per answer and stage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# In order. All but `model` and `busy` is overhead: while the worker is busy, the model is at work
# on an earlier image.
STAGES = (
    'publish', 'busy', 'arrive', 'observe', 'proprio', 'model', 'answer', 'judge', 'tick',
)  # fmt: skip
# A frame belongs to the trigger that began this long before its stamp at most [ns].
TRIGGER_NS = 20_000_000


def stages_ms(
    answers: Sequence[Mapping[str, Any]],
    first_target_ns: Mapping[int, int],
    triggers_ns: Sequence[tuple[int, int]],
    clock_offset_ns: int,
) -> dict[str, NDArray[np.float64]]:
    """
    Return the time of every answer in each stage [ms], and two sums of stages.

    `overhead` is all but `model` and `busy`; `beside_model` is all but `model`.

    publish: camera stamp -> all cameras are published. busy: -> the worker is free. arrive: -> it
    has all frames. observe: -> they and the arms are frozen. proprio: -> the model is asked.
    answer: from the model's answer -> received by the control process. judge: -> queued. tick: ->
    stamp of the first target.

    :param answers: of the run's record. first_target_ns: by sequence, system clock.
    :param triggers_ns: when the cameras began and ended to publish, system clock.
    :param clock_offset_ns: system clock less monotonic clock, which the answers' steps are of.
    """
    begins, ends = np.array(triggers_ns, dtype=np.int64).T
    rows = []
    for answer in answers[1:]:  # the first is from before the cameras' rhythm
        trigger = np.searchsorted(begins, answer['image_ns'], side='right') - 1
        target_ns = first_target_ns.get(answer['sequence'])
        if target_ns is None or trigger < 0 or answer['image_ns'] - begins[trigger] > TRIGGER_NS:
            continue
        passed = {name: ns + clock_offset_ns for name, ns in answer['passed_ns'].items()}
        published = max(int(ends[trigger]), answer['image_ns'])
        free = max(published, passed['free'])
        marks = [
            answer['image_ns'], published, free, passed['ready'], passed['frozen'],
            passed['asked'], passed['answered'], passed['received'], passed['judged'], target_ns,
        ]  # fmt: skip
        rows.append(np.diff(marks))
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(STAGES)).T * 1e-6
    stages = dict(zip(STAGES, columns, strict=True))
    beside_model = columns.sum(axis=0) - stages['model']
    return stages | {'overhead': beside_model - stages['busy'], 'beside_model': beside_model}
