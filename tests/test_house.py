"""Rules of the source text: files and functions that can be read at once, docstrings that name their subject."""

import ast
import io
import tokenize
from pathlib import Path

import fastfc

PACKAGE = Path(fastfc.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60  # without its docstring

# Each of these has a reason; one that is no longer needed fails a test below.
LONG_FILES = {
    "layers.py": "the course's functions, whose module names are in pickles; two thirds are docstrings",
    "solver.py": "the course's class; two fifths are docstrings",
    "classifiers/fc_net.py": "the course's class; half are docstrings",
}
LONG_FUNCTIONS = {
    "kernels/lowering/decimals.py:read_lines": "one loop over bytes; with helpers for its parts it takes twice as long",
    "training/plan.py:make_plan": "fills in one record, in the order of its attributes",
}
OPENING_WITH_WHAT: dict[str, int] = {}


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions_of(path):
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length_of(function):
    """Lines of a function from ``def`` on, without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def docstrings_of(path):
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(parsed(path)) if isinstance(node, kinds)]
    return [docstring for node in nodes if (docstring := ast.get_docstring(node)) is not None]


def comments_of(path):
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return [token.string.lstrip("#: ") for token in tokens if token.type == tokenize.COMMENT]


def test_no_file_is_long():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    long = {name for name, length in lengths.items() if length > MOST_LINES}
    assert long == set(LONG_FILES), {name: lengths.get(name) for name in long ^ set(LONG_FILES)}


def test_no_function_is_long():
    long = {
        f"{name}:{function.name}"
        for name, path in FILES.items()
        for function in functions_of(path)
        if length_of(function) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == set(LONG_FUNCTIONS)


def test_no_docstring_or_comment_opens_with_what():
    """A docstring says what its object is, not "What it is"."""
    counts = {
        name: sum(text.startswith("What ") for text in (*docstrings_of(path), *comments_of(path)))
        for name, path in FILES.items()
    }
    assert {name: count for name, count in counts.items() if count} == OPENING_WITH_WHAT
