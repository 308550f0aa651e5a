# SPDX-License-Identifier: Apache-2.0
"""Which row of a checkpoint a robot starts from, and the proof that no other row has changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import hashlib

import numpy as np
from numpy.typing import NDArray
import torch

from xvla_ros.adapt.dataset import Dataset
from xvla_ros.adapt.trainer.batches import Batch, to_device
from xvla_ros.adapt.trainer.features import BLOCK
from xvla_ros.adapt.trainer.forward import act, encode
from xvla_ros.adapt.trainer.objective import Student
from xvla_ros.adapt.trainer.optimisation import domain_tables
from xvla_ros.adapt.windows import AnyErrors
from xvla_ros.core.errors import CheckpointError, ConfigError
from xvla_ros.model.inspection import row_similarity, trained_domains
from xvla_ros.model.xvla import XVLA

# Samples by which rows are compared.
SAMPLES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """
    A trained row.

    likeness: mean cosine between this row and the other trained ones. errors: of the data with
    this row, without training; None where there is no data.
    """

    row: int
    likeness: float
    errors: AnyErrors | None = None


def candidates(network: XVLA, trained: Sequence[int]) -> list[Candidate]:
    """
    Return the trained rows, the one most similar to the others first.

    Without data it is the best guess, because it holds what many robots share.
    """
    rows = list(trained)
    alike = row_similarity([table.detach().float()[rows] for table in domain_tables(network)])
    others = (alike.sum(axis=1) - 1.0) / max(1, len(rows) - 1)
    found = [Candidate(row=r, likeness=float(x)) for r, x in zip(rows, others, strict=True)]
    return sorted(found, key=lambda candidate: -candidate.likeness)


def trained_rows(network: XVLA) -> tuple[int, ...]:
    """
    Return the rows that training has seen.

    :raises CheckpointError: no row can be told from one that was never trained.
    """
    rows = trained_domains(network)
    if rows is None:
        raise CheckpointError(
            'no row of this checkpoint has been trained, as far as its weights tell; name one '
            'with --from-row'
        )
    return rows


@torch.no_grad()
def retrieve(student: Student, data: Dataset, rows: Sequence[int], seed: int) -> list[Candidate]:
    """
    Return the rows by how well each predicts the data without any training, best first.

    One prediction from noise (t = 1) per row; the encoder, which all rows share, runs once.
    """
    student.network.eval()
    count = min(SAMPLES, len(data))
    samples = np.sort(np.random.default_rng(seed).choice(len(data), count, replace=False))
    parts = [
        guesses(student, to_device(data.batch(part, rows[0]), student.device), rows, seed)
        for part in np.array_split(samples, -(-count // BLOCK))
    ]
    done, task = data.actions[samples], np.zeros(count, np.intp)
    like = {candidate.row: candidate.likeness for candidate in candidates(student.network, rows)}
    found = []
    for row in rows:
        guess = data.normalisation.restored(np.concatenate([part[row] for part in parts]))
        errors = data.maker.compare(guess, done, task, ('all',))
        found.append((errors.score, Candidate(row=row, likeness=like[row], errors=errors)))
    return [candidate for _, candidate in sorted(found, key=lambda pair: pair[0])]


def guesses(
    student: Student, batch: Batch, rows: Sequence[int], seed: int
) -> dict[int, NDArray[np.float32]]:
    """Return what each row predicts for a batch from the same noise: (B, T, dim)."""
    network, ones = student.network, torch.ones(len(batch.domain), device=student.device)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch.actions.shape, generator=generator).to(student.device)
    with student.arithmetic():
        known = encode(network, batch)
        raw = {
            row: act(network, replace(batch, domain=torch.full_like(batch.domain, row)),
                     *known, noise, ones)
            for row in rows
        }  # fmt: skip
    return {
        row: network.mode.postprocess(guess.float()).cpu().numpy() for row, guess in raw.items()
    }


def copy_row(network: XVLA, source: int, target: int) -> None:
    """Copy the prompts and all other tables of one row to another."""
    with torch.no_grad():
        for table in domain_tables(network):
            table[target] = table[source]


def check_row(network: XVLA, row: int, name: str) -> None:
    """
    Check that a network has a row.

    :raises ConfigError: it has not.
    """
    if not 0 <= row < network.config.num_domains:
        raise ConfigError(
            f'{name} is {row}, expected a row of the checkpoint, 0 to '
            f'{network.config.num_domains - 1}'
        )


def fingerprints(network: XVLA) -> tuple[str, ...]:
    """Return a SHA-256 of the bits of each row, over all tables."""
    rows = range(network.config.num_domains)
    tables = [table.detach().cpu().contiguous() for table in domain_tables(network)]
    return tuple(
        hashlib.sha256(b''.join(t[row].numpy().tobytes() for t in tables)).hexdigest()
        for row in rows
    )


def check_others(before: Sequence[str], network: XVLA, row: int) -> None:
    """
    Check that training one row left the bits of all others as they were.

    :raises CheckpointError: it did not.
    """
    after = fingerprints(network)
    changed = [r for r in range(len(after)) if r != row and after[r] != before[r]]
    if changed:
        raise CheckpointError(
            f'rows {changed} have changed while row {row} was trained; nothing was written'
        )
