# SPDX-License-Identifier: Apache-2.0
"""No data becomes code: no pickle, eval, unsafe YAML, shell or code of a checkpoint."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    p for folder in ('xvla_ros', 'launch', 'scripts') for p in (ROOT / folder).rglob('*.py')
)
MODULES = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'shelve', 'marshal', 'joblib', 'jsonpickle'}
FUNCTIONS = {'eval', 'exec', 'compile', '__import__'}
CALLS = {'yaml.load', 'yaml.unsafe_load', 'yaml.full_load', 'os.system', 'os.popen'}
FLAGS = {'shell', 'trust_remote_code', 'allow_pickle'}


def called(node):
    """Return what a call names: `yaml.load`."""
    if isinstance(node, ast.Name):
        return node.id
    return f'{called(node.value)}.{node.attr}' if isinstance(node, ast.Attribute) else ''


def dangers(tree):
    """Yield what in a file could turn data into code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from MODULES & {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            errors = all(alias.name.endswith('Error') for alias in node.names)
            yield from set() if errors else MODULES & {(node.module or '').split('.')[0]}
        elif isinstance(node, ast.Call):
            yield from dangers_of_call(node)


def dangers_of_call(node):
    """Yield what in a call could turn data into code."""
    name = called(node.func)
    if name in CALLS or name in FUNCTIONS:
        yield name
    if name.endswith('torch.load'):
        yield from () if safely(node, 'weights_only') else ('torch.load without weights_only',)
    for keyword in node.keywords:
        if keyword.arg in FLAGS and not is_false(keyword.value):
            yield keyword.arg


def safely(node, name):
    return any(k.arg == name and not is_false(k.value) for k in node.keywords)


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize('path', SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_data_becomes_code(path):
    assert not list(dangers(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    'code',
    [
        'import pickle',
        'from dill import loads',
        'eval(text)',
        'yaml.load(text, Loader=yaml.Loader)',
        'subprocess.run(text, shell=True)',
        'AutoModel.from_pretrained(name, trust_remote_code=True)',
        'numpy.load(path, allow_pickle=True)',
        'torch.load(path)',
    ],
)
def test_every_danger_would_be_found(code):
    assert list(dangers(ast.parse(code)))


def test_a_link_between_processes_is_inherited_and_never_a_port():
    """Multiprocessing's connections unpickle; only the worker's inherited socket is one."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == 'multiprocessing.connection':
                assert {alias.name for alias in node.names} <= {'Connection', 'Pipe'}, path
