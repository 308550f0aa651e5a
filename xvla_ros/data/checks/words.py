# SPDX-License-Identifier: Apache-2.0
"""Checks instructions."""

from collections.abc import Iterator

from xvla_ros.core.findings import Finding, PROBLEM, WARNING
from xvla_ros.data.checks.asked import Asked, at
from xvla_ros.data.episodes import Episode

# Without a tokenizer: BART has fewer than so many tokens for each word of an instruction.
TOKENS_PER_WORD = 1.4


def check_instruction(episode: Episode, asked: Asked) -> Iterator[Finding]:
    """Yield what is wrong with the instruction of an episode."""
    text = episode.instruction.strip()
    if not text:
        yield at(
            episode, PROBLEM, 'instruction', 'is empty',
            fix='instruction, or instruction_key, in the source file',
        )  # fmt: skip
        return
    if asked.tokens is not None:
        count, about = asked.tokens(text), ''
    else:
        count, about = round(TOKENS_PER_WORD * len(text.split())) + 2, 'about '
    if count > asked.most_tokens:
        yield at(
            episode, WARNING, 'instruction',
            f'has {about}{count} tokens, what is beyond {asked.most_tokens} is not read: '
            f'{text[:60]}...',
        )  # fmt: skip
