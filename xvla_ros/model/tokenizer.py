# SPDX-License-Identifier: Apache-2.0
"""Converts an instruction to token ids, with the tokenizer beside the weights."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, ByteLevelBPETokenizer, Tokenizer
from tokenizers.processors import RobertaProcessing

from xvla_ros.core.errors import CheckpointError, ObservationError
from xvla_ros.model.reading import check_readable, read_json

# The pad token of BART.
PAD_ID = 1
FAST, VOCABULARY, MERGES = 'tokenizer.json', 'vocab.json', 'merges.txt'
# Files that may name tokens beyond the vocabulary.
ADDED, SETTINGS = 'added_tokens.json', 'tokenizer_config.json'
# BART's special tokens. Every text begins with the first and ends with the third.
SPECIAL = ('<s>', '<pad>', '</s>', '<unk>', '<mask>')


class TextProcessor:
    """Turn an instruction into a fixed number of token ids, padded with id 1 on the right."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self.tokenizer, self.length = tokenizer, length
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=PAD_ID, pad_token=_pad_token(tokenizer))
        self.encode = lru_cache(maxsize=256)(self._encode)

    def __call__(self, instruction: str) -> tuple[int, ...]:
        """Return the ids of an unchanged instruction: X-VLA has no prompt template."""
        if not isinstance(instruction, str):
            raise ObservationError(
                f'instruction is a {type(instruction).__name__}, expected a string'
            )
        return self.encode(instruction)

    @cached_property
    def _whole(self) -> Tokenizer:
        """The same tokenizer without truncation and padding."""
        whole = Tokenizer.from_str(self.tokenizer.to_str())
        whole.no_truncation()
        whole.no_padding()
        return whole

    def count(self, instruction: str) -> int:
        """Return the number of tokens of an instruction; those beyond `length` are dropped."""
        return len(self._whole.encode(instruction).ids)

    def _encode(self, instruction: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(instruction).ids)


def _pad_token(tokenizer: Tokenizer) -> str:
    token: str | None = tokenizer.id_to_token(PAD_ID)
    if token is None:
        raise CheckpointError(f'{FAST}: has no token {PAD_ID}, the pad of X-VLA')
    return token


def load_tokenizer(folder: Path, length: int, vocabulary: int) -> TextProcessor:
    """
    Read the tokenizer of a checkpoint directory, `tokenizer.json` or `vocab.json` + `merges.txt`.

    :param length: number of tokens of every instruction.
    :param vocabulary: rows of the text embedding; ids must be below it.
    :raises CheckpointError: it is missing, cannot be read, or has more tokens than rows.
    """
    fast = (folder / FAST).is_file()
    if not has_tokenizer(folder):
        raise CheckpointError(
            f'{folder / FAST}: missing, and there is no {VOCABULARY} with {MERGES}; a lerobot '
            'checkpoint names facebook/bart-large instead of carrying its tokenizer: copy '
            f'the {FAST} of that model into {folder}'
        )
    path = folder / (FAST if fast else VOCABULARY)
    try:
        tokenizer = _fast(path) if fast else _slow(folder)
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f'{path}: not a tokenizer: {error}') from error
    if tokenizer.get_vocab_size() > vocabulary:
        raise CheckpointError(
            f'{path}: {tokenizer.get_vocab_size()} tokens, but the embedding has {vocabulary} rows'
        )
    return TextProcessor(tokenizer, length)


def has_tokenizer(folder: Path) -> bool:
    """Say whether a folder holds a tokenizer, or a part of one."""
    return any((folder / name).is_file() for name in (FAST, VOCABULARY, MERGES))


def _fast(path: Path) -> Tokenizer:
    check_readable(path)
    return Tokenizer.from_file(str(path))


def _slow(folder: Path) -> Tokenizer:
    """Build BART's byte-level tokenizer from its vocabulary and merges."""
    for name in (VOCABULARY, MERGES):
        check_readable(folder / name)
    built = ByteLevelBPETokenizer(str(folder / VOCABULARY), str(folder / MERGES))
    tokenizer: Tokenizer = built._tokenizer
    begin, _, end, *_ = SPECIAL
    vocabulary = tokenizer.get_vocab()
    if begin not in vocabulary or end not in vocabulary:
        raise CheckpointError(f'{folder / VOCABULARY}: lacks {begin} or {end}, expected both')
    tokenizer.add_special_tokens([token for token in SPECIAL if token in vocabulary])
    _add_tokens(tokenizer, folder)
    ends = (end, vocabulary[end]), (begin, vocabulary[begin])
    tokenizer.post_processor = RobertaProcessing(*ends)
    return tokenizer


def _add_tokens(tokenizer: Tokenizer, folder: Path) -> None:
    """Add the tokens beyond the vocabulary with the ids in the files."""
    added = _added_tokens(folder)
    for index in sorted(added):
        if tokenizer.token_to_id(added[index].content) is None:
            tokenizer.add_tokens([added[index]])
        found = tokenizer.token_to_id(added[index].content)
        if found != index:
            raise CheckpointError(
                f'{folder}: token {added[index].content!r} gets id {found}, '
                f'{ADDED} or {SETTINGS} says {index}'
            )


def _added_tokens(folder: Path) -> dict[int, AddedToken]:
    """Read tokens by id from the files that may name them."""
    found: dict[int, AddedToken] = {}
    if (folder / ADDED).is_file():
        found |= {
            int(i): AddedToken(t, special=True) for t, i in read_json(folder / ADDED).items()
        }
    if (folder / SETTINGS).is_file():
        named: Mapping[str, Any] = read_json(folder / SETTINGS).get('added_tokens_decoder') or {}
        flags = ('lstrip', 'normalized', 'rstrip', 'single_word', 'special')
        for index, token in named.items():
            settings = {flag: bool(token[flag]) for flag in flags if flag in token}
            found[int(index)] = AddedToken(token['content'], **settings)
    return found
