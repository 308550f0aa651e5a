# SPDX-License-Identifier: Apache-2.0
"""
Find the fastest setting of a policy within a bound on the error of its chunks.

Settings are backend, dtype, denoising steps, tolerance and warm start. The error is the largest
difference from ten float32 steps from noise, on the observations of a bag.

    xvla tune out/my_policy --bag bags/run --out tuned.yaml
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
import json
from pathlib import Path
import sys
from typing import TYPE_CHECKING

import yaml

from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.errors import ConfigError
from xvla_ros.tools.arguments import count, duration

if TYPE_CHECKING:  # imports torch, which --help does not need
    from xvla_ros.tools.tune.search import Bound, Trial


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('checkpoint', type=Path, help='checkpoint or exported folder')
    parser.add_argument('--bag', type=Path, required=True, help='bag with observations')
    parser.add_argument('--embodiment', type=Path, help="parameter file instead of the bag's")
    parser.add_argument('--out', type=Path, default=Path('tuned.yaml'), help='file to write')
    parser.add_argument('--observations', type=count, default=40, help='used, from the first on')
    parser.add_argument('--mm', type=duration, default=1.0, help='largest position error [mm]')
    parser.add_argument('--deg', type=duration, default=0.5, help='largest rotation error [deg]')
    parser.add_argument('--latency-ms', type=duration, default=100.0, help='of the replay [ms]')
    parser.add_argument('--threads', type=count, default=1, help='threads of the policy')


def run(args: Namespace) -> int:
    """Try all settings, print them, and write the fastest one within the error."""
    import torch

    from xvla_ros.tools.tune.search import Bound

    torch.set_num_threads(args.threads)
    if not (args.mm and args.deg):
        raise ConfigError('--mm and --deg: expected more than 0')
    folder, bound = checkpoint_folder(args.checkpoint), Bound(args.mm, args.deg)
    trials, layers = try_all(args, folder, bound)
    for trial in trials:
        print(described(trial, bound))
    fitting = [trial for trial in trials if bound.holds(trial.worst)]
    if not fitting:
        raise ConfigError(f'no setting stays within {bound.position_mm:g} mm')
    best = min(fitting, key=lambda trial: trial.seconds)
    write(args, trials, best, bound, layers if best.setting.dtype == 'int8' else ())
    print(f'cheapest within the error: {described(best, bound)}')
    print(f'written to {args.out}')
    return 0


def try_all(
    args: Namespace, folder: Path, bound: 'Bound'
) -> tuple[list['Trial'], tuple[str, ...]]:
    """Return a trial per setting, and the layers that int8 left in float32."""
    from tqdm import tqdm

    from xvla_ros.model.loading import load_policy
    from xvla_ros.tools.tune import search
    from xvla_ros.tools.tune.observations import observations

    replan_s = args.latency_ms / 1e3
    found, robot = observations(args.bag, folder, args.embodiment, args.observations, replan_s)
    period_s = robot.policy.anchor_period_s
    warm = not robot.policy.relative_position and robot.policy.anchor_stride == 1
    ways = [way for way in search.runs() if warm or 'warm_start_time' not in way]
    layers: tuple[str, ...] = ()
    trials = []
    progress = tqdm(desc='trials', file=sys.stderr)
    for backend, dtype in search.variants(folder):
        if dtype == 'int8':
            layers = search.float_layers(folder, found.asked, bound, lambda _: progress.update())
            policy = search.rounded(folder, layers)
        else:
            policy = load_policy(folder, dtype=dtype, backend=backend)
        for way in ways:
            setting = search.Setting(backend=backend, dtype=dtype, **way)
            trial = search.tried(policy, setting, found.asked, found.exact, replan_s, period_s)
            trials.append(trial)
            progress.update()
    progress.close()
    return trials, layers


def described(trial: 'Trial', bound: 'Bound') -> str:
    """Return a trial as a line."""
    s, worst = trial.setting, trial.worst
    sign = 'within' if bound.holds(worst) else 'beyond'
    return (
        f'{s.backend:11} {s.dtype:8} steps {s.denoising_steps:2} tolerance {s.tolerance_mm:g} mm '
        f'warm start {s.warm_start_time:g}: {1e3 * trial.seconds:8.1f} ms, '
        f'{worst.position_mm:.3f} mm, {worst.rotation_deg:.3f} deg, {sign}'
    )


def write(
    args: Namespace,
    trials: Sequence['Trial'],
    best: 'Trial',
    bound: 'Bound',
    layers: Sequence[str],
) -> None:
    """Write a parameter file with the setting, the evidence above it as comments."""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    head = [
        f'# xvla tune {args.checkpoint} --bag {args.bag}: the cheapest of {len(trials)} settings',
        f'# within {bound.position_mm:g} mm and {bound.rotation_deg:g} deg of ten float32 steps,',
        f'# largest error on {args.observations} observations or fewer; {args.threads} thread(s).',
        *(f'#   {described(trial, bound)}' for trial in trials),
    ]
    setting = asdict(best.setting)
    if not best.setting.tolerance_mm:
        del setting['tolerance_deg']
    if layers:
        file = args.out.with_name('int8.json')
        file.write_text(json.dumps({'float_layers': list(layers)}, indent=2) + '\n')
        head.append(f'# Put {file.name} beside the weights: it names the layers left in float32.')
    data = {'/**': {'ros__parameters': {'policy': setting}}}
    args.out.write_text('\n'.join(head) + '\n' + yaml.safe_dump(data, sort_keys=False))
