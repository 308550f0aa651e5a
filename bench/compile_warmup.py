# SPDX-License-Identifier: Apache-2.0
"""
Compile the action head of a small X-VLA with torch.compile and collect the garbage: a disturbance.

python -m bench.compile_warmup --nice 10 --out facts.json
"""

from argparse import ArgumentParser
from collections.abc import Sequence
import gc
import json
from pathlib import Path
import sys
import time

import torch

from xvla_ros.runtime.process import softly
from xvla_ros.testing.miniature import small_network

VIEWS, SIDE, ACTIONS, TOKENS = 3, 40, 30, 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile as softly as a worker that is restarted; write how long it took."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('--nice', type=int, required=True)
    parser.add_argument('--out', type=Path, required=True)
    options = parser.parse_args(arguments)
    facts = softly(_disturb, options.nice)
    options.out.write_text(json.dumps(facts), encoding='utf-8')
    return 0


def _disturb() -> dict[str, float]:
    """Compile with one thread, collect the garbage, and return how long each took [s]."""
    began = time.perf_counter()
    _compile()
    compiled = time.perf_counter()
    objects = len(gc.get_objects())
    gc.collect()
    return {
        'compile_s': compiled - began,
        'collect_s': time.perf_counter() - compiled,
        'objects': objects,
    }


def _compile() -> None:
    torch.set_num_threads(1)
    torch.compiler.config.force_disable_caches = True
    torch._inductor.config.compile_threads = 1  # in this process, as a worker would
    network = small_network(num_actions=ACTIONS).eval()
    with torch.inference_mode():
        encoded, auxiliary = network.encode(
            torch.zeros(1, TOKENS, dtype=torch.long),
            torch.zeros(1, VIEWS, 3, SIDE, SIDE),
            torch.ones(1, VIEWS, dtype=torch.bool),
        )
        actions, proprio = torch.zeros(1, ACTIONS, 20), torch.zeros(1, 20)
        inputs = actions, proprio, torch.ones(1), encoded, auxiliary, torch.zeros(1).long()
        torch.compile(network.transformer)(*inputs)


if __name__ == '__main__':
    sys.exit(main())
