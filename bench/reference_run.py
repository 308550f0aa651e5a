# SPDX-License-Identifier: Apache-2.0
"""The commands that run in `.venv-reference`; see reference_network.py beside this file."""

import argparse
from pathlib import Path
import sys
import time

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from reference_network import arguments, build, seeded_inputs


def outputs(model: torch.nn.Module, data: dict[str, np.ndarray], steps: int) -> dict:
    """Run every stage of the published network with the given noise."""
    inputs, noise = arguments(data), torch.from_numpy(data['noise'])
    drawn, torch.randn = torch.randn, lambda *_, **__: noise.clone()
    try:
        action = model.generate_actions(**inputs, steps=steps)
    finally:
        torch.randn = drawn
    pixels, mask = inputs['image_input'], inputs['image_mask']
    valid = pixels.flatten(0, 1)[mask.flatten()]
    if hasattr(model.vlm, '_encode_image'):
        features = model.vlm._encode_image(valid)
    else:  # transformers' own Florence-2, see reference_native.py
        features = model.vlm.get_image_features(valid).pooler_output
    encoded = model.forward_vlm(inputs['input_ids'], pixels, mask)
    proprio, noisy = model.action_space.preprocess(inputs['proprio'], noise)
    head = model.transformer(
        domain_id=inputs['domain_id'],
        action_with_noise=noisy,
        proprio=proprio,
        t=torch.from_numpy(data['head_time']),
        **encoded,
    )
    found = {'image_features': features, 'encoder': encoded['vlm_features']}
    found |= {'head': head, 'chunk': action}
    return {name: tensor.float().numpy() for name, tensor in found.items()}


def run(args: argparse.Namespace) -> None:
    """Write all stages' outputs, for one and for three valid views."""
    model = build(args.size, 'float32', args.seed)
    found = {}
    for views in (1, 3):
        data = seeded_inputs(args.size, views, args.seed)
        with torch.inference_mode():
            stages = outputs(model, data, args.steps)
        found |= {f'{name}_{views}': values for name, values in stages.items()}
    np.savez_compressed(args.out, **found)


def serve(args: argparse.Namespace) -> None:
    """Answer each line on stdin with the seconds of one chunk, in the dtype it names."""
    torch.set_num_threads(args.threads)
    data = arguments(seeded_inputs(args.size, args.views, args.seed))
    data = {name: tensor.to(args.device) for name, tensor in data.items()}
    models = {dtype: build(args.size, dtype, args.seed).to(args.device) for dtype in args.dtypes}
    wait = torch.cuda.synchronize if args.device == 'cuda' else lambda: None
    print('ready', flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        with torch.inference_mode():
            models[line.strip()].generate_actions(**data, steps=args.steps)
            wait()
        print(time.perf_counter() - start, flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--size', choices=('small', 'full'), default='small')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--steps', type=int, default=10)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser('run')
    command.add_argument('--out', required=True)
    command.set_defaults(call=run)
    command = commands.add_parser('serve')
    command.add_argument('--views', type=int, default=3)
    command.add_argument('--threads', type=int, required=True)
    command.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    command.add_argument('--dtypes', nargs='+', default=['float32'])
    command.set_defaults(call=serve)
    args = parser.parse_args()
    args.call(args)


if __name__ == '__main__':
    main()
