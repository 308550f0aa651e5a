# SPDX-License-Identifier: Apache-2.0
"""The folder that `xvla export` writes, and the network made of its graphs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.action_modes import action_mode
from xvla_ros.model.backends.network import Step
from xvla_ros.model.backends.pieces import CONTEXT, PIECES, STEP, TIME, VISION
from xvla_ros.model.backends.runtimes import Runner, runner
from xvla_ros.model.config import NetworkConfig
from xvla_ros.model.denoiser import Context
from xvla_ros.model.reading import read_json
from xvla_ros.model.writing import write_json

MANIFEST, WORDS = 'export.json', 'words.npy'
# Suffix of a graph's file by format.
SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml'}


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """
    The description of an exported folder.

    format: `onnx` or `openvino`. dtype: `float32`, or `int8` if products are in int8.
    trained_domains: as in `Policy`. errors: largest differences from torch at the export, by the
    compared output. tensors: by piece, then `inputs` and `outputs`, the shape of each by name.
    float_layers: with int8, the products that stayed in float32.
    """

    format: str
    dtype: str
    trained_domains: tuple[int, ...] | None
    errors: Mapping[str, float]
    tensors: Mapping[str, Mapping[str, Mapping[str, list[Any]]]]
    versions: Mapping[str, str]
    float_layers: tuple[str, ...] = ()


def is_exported(folder: Path) -> bool:
    """Say whether a folder holds exported graphs."""
    return (folder / MANIFEST).is_file()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the folder's description."""
    write_json(folder / MANIFEST, asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """
    Read the folder's description.

    :raises CheckpointError: the file was not written by an export, or a graph is missing.
    """
    data = read_json(folder / MANIFEST)
    try:
        domains, layers = data['trained_domains'], data['float_layers']
        data |= {
            'trained_domains': None if domains is None else tuple(domains),
            'float_layers': tuple(layers),
        }
        manifest = Manifest(**data)
        files = [folder / f'{name}{SUFFIXES[manifest.format]}' for name in PIECES]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f'{folder / MANIFEST}: not written by this xvla export') from error
    for file in (*files, folder / WORDS):
        if not file.is_file():
            raise CheckpointError(f'{file}: is missing; export again')
    return manifest


def arrays_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """Return tensors as arrays that share their memory."""
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}


class ExportedNetwork:
    """The graphs of a folder as the predictor's network; see `Network`."""

    def __init__(
        self, config: NetworkConfig, words: NDArray[np.float32], runners: Mapping[str, Runner]
    ) -> None:
        """
        Store the loaded parts.

        :param words: (vocabulary, C) token embeddings; may be mapped from a file.
        """
        self.config, self.mode = config, action_mode(config)
        own = config.dim_proprio
        self.dim_proprio = self.mode.dim_proprio if own is None else own
        self.words, self.runners = words, runners

    def _run(self, piece: str, **tensors: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(out) for out in self.runners[piece](arrays_of(tensors))]

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode normalised images (N, 3, H, W) into features (N, tokens, C)."""
        return self._run(VISION, pixels=pixels)[0]

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed token ids (B, L) into (B, L, C)."""
        return torch.from_numpy(np.asarray(self.words[tokens.numpy()]))

    def context(self, views: torch.Tensor, text: torch.Tensor, domain: torch.Tensor) -> Context:
        """Fuse views and text, see `Network.context`."""
        return Context(*self._run(CONTEXT, views=views, text=text, domain=domain))

    def denoiser(
        self, context: Context, state: torch.Tensor, domain: torch.Tensor, times: torch.Tensor
    ) -> Step:
        """Return the steps of a run."""
        fixed = context._asdict() | {'state': state, 'domain': domain}

        def step(actions: torch.Tensor, index: int) -> torch.Tensor:
            time = {TIME: times[index : index + 1]}
            return self._run(STEP, actions=actions, **time, **fixed)[0]

        return step


def load_exported(
    folder: Path,
    config: NetworkConfig,
    backend: str,
    device: str = 'cpu',
    dtype: str = 'float32',
) -> ExportedNetwork:
    """
    Load the graphs of a folder with one runtime.

    :raises CheckpointError: the runtime is missing, or does not run such graphs.
    """
    suffix = SUFFIXES[read_manifest(folder).format]
    files = {name: folder / f'{name}{suffix}' for name in PIECES}
    runners = {name: runner(backend, file, device, dtype) for name, file in files.items()}
    return ExportedNetwork(config, np.load(folder / WORDS, mmap_mode='r'), runners)
