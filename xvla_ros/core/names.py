# SPDX-License-Identifier: Apache-2.0
"""Which names ROS 2 accepts for topics, services and actions."""

import re

# rcl's substitutions (rcl_get_default_topic_name_substitutions).
SUBSTITUTION = re.compile(r'\{(node|ns|namespace)\}')
# rmw_validate_full_topic_name: 255 characters, less the longest prefix that DDS names get.
MOST_CHARACTERS = 247


def name_objection(name: str) -> str:
    """
    Return why ROS 2 refuses a name of a topic, service or action; empty when it accepts it.

    The rules are those of rcl_validate_topic_name and rmw_validate_full_topic_name.
    """
    plain = SUBSTITUTION.sub('x', name)
    parts = plain.removeprefix('~').removeprefix('/').split('/')
    if len(name) > MOST_CHARACTERS:
        return f'it has more than {MOST_CHARACTERS} characters'
    if plain.startswith('~') and not plain.startswith('~/'):
        return "'~' must be followed by '/'"
    foreign = sorted(set(re.findall(r'[^A-Za-z0-9_/]', plain.removeprefix('~'))))
    if foreign:
        return f"{', '.join(map(repr, foreign))} is not allowed: use letters, digits, '_' and '/'"
    if '' in parts:
        return "it ends in '/' or has '//' in it" if plain else 'it is empty'
    if any(part[0].isdigit() for part in parts):
        return "a part after '/' begins with a digit"
    return ''
