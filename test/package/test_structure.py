# SPDX-License-Identifier: Apache-2.0
"""The shape of the sources: small folders, files and functions; no import circle."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'xvla_ros'
MOST_FILES, MOST_LINES, MEDIAN_FUNCTION = 16, 260, 8
# Each is one subject with many parts: the robot's data and the network.
LARGE_FOLDERS = {'xvla_ros/core', 'xvla_ros/model'}
FILES = sorted(PACKAGE.rglob('*.py'))


@cache
def tree(path):
    return ast.parse(path.read_text())


def name(path):
    """Return a file as Python names it: `xvla_ros.core.errors`."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {name(path): path for path in FILES}


def imports(path, *, lazy):
    """Yield each module of this package that a file imports; `lazy`: inside functions, too."""
    for node in ast.walk(tree(path)) if lazy else _at_import(tree(path)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found = [f'{node.module}.{alias.name}' for alias in node.names]
            found = [inner if inner in MODULES else node.module for inner in found]
        else:
            continue
        yield from (MODULES.keys() & set(found)) - {'xvla_ros'}


def _at_import(node):
    """Yield the nodes that run when a file is imported: no function bodies, no TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_typing = isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test)
        if not (is_function or is_typing):
            yield child
            yield from _at_import(child)


def code_lines(function):
    """Return how many lines of code a function has: no signature, docstring, comment or blank."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return len({line for node in body for line in range(node.lineno, node.end_lineno + 1)})


def functions():
    """Yield every function and method of the package with its file."""
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_no_folder_is_crowded():
    counts = {}
    for path in FILES:
        folder = str(path.parent.relative_to(ROOT))
        counts[folder] = counts.get(folder, 0) + (path.name != '__init__.py')
    print(*(f'{count:4} files  {folder}' for folder, count in sorted(counts.items())), sep='\n')
    crowded = {f: n for f, n in counts.items() if n > MOST_FILES and f not in LARGE_FOLDERS}
    assert not crowded, f'more than {MOST_FILES} files: {crowded}; make rooms'


def test_no_file_is_long():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES}
    longest = sorted(lengths.items(), key=lambda item: -item[1])[:10]
    print(f'{len(FILES)} files, {sum(lengths.values())} lines; the longest:')
    print(*(f'{lines:5} lines  {path}' for path, lines in longest), sep='\n')
    long = {path: lines for path, lines in lengths.items() if lines > MOST_LINES}
    assert not long, f'more than {MOST_LINES} lines: {long}'


def test_the_median_function_is_short():
    found = [(code_lines(node), f'{p.relative_to(ROOT)}:{node.name}') for p, node in functions()]
    lengths = [lines for lines, _ in found]
    print(f'{len(lengths)} functions, median {median(lengths)} lines of code; the longest:')
    print(*(f'{lines:5} lines  {where}' for lines, where in sorted(found)[-10:]), sep='\n')
    assert median(lengths) <= MEDIAN_FUNCTION


def test_the_full_counts_are_asked_for_in_one_place():
    variable = 'XVLA_TEST' + '_FULL'
    readers = [p.name for p in (ROOT / 'test').rglob('*.py') if f"'{variable}'" in p.read_text()]
    assert readers == ['counts.py']


def in_order(graph, what):
    """Return the nodes of a graph, each after what it imports; fail at a circle."""
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f'{what} make a circle: ' + ' -> '.join(reversed(error.args[1])))


def test_modules_make_no_circle():
    """Imports that run when a module is imported; lazy ones cannot fail for a circle."""
    graph = {module: set(imports(path, lazy=False)) for module, path in MODULES.items()}
    count = len(in_order(graph, 'modules'))
    print(f'{count} modules, {sum(map(len, graph.values()))} imports, no circle')


def layer(module):
    return module.split('.')[1]


def test_layers_make_no_circle():
    """Every import counts, lazy ones and those for type checkers; test_layers.py says who may."""
    graph = {}
    for module in MODULES.keys() - {'xvla_ros'}:
        others = {layer(other) for other in imports(MODULES[module], lazy=True)}
        graph.setdefault(layer(module), set()).update(others - {layer(module)})
    print('layers, lowest first:', ' < '.join(in_order(graph, 'layers')))
