"""The parts that a docstring of a public function or class lacks, by its signature and its source text."""

import ast
import inspect
import re
import textwrap

__all__ = ["entries", "missing", "sections", "summary_is_missing"]

UNDERLINED = re.compile(r"^(?P<name>\w[\w ]*)\n-{3,}\n(?P<text>.*?)(?=^\w[\w ]*\n-{3,}\n|\Z)", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^(?P<names>[\w*, ]+?)(?: : (?P<type>.*))?\n(?P<text>(?:^(?: .*)?\n?)*)", re.MULTILINE)


def sections(documented):
    """The sections of a docstring in numpydoc's form: their texts by their names, with the opening as ``""``."""
    text = inspect.getdoc(documented) or ""
    found = {match["name"]: match["text"] for match in UNDERLINED.finditer(text)}
    first = UNDERLINED.search(text)
    return {"": text[: first.start()] if first else text, **found}


def entries(text):
    """The entries of a section: types and descriptions by names."""
    found = {}
    for match in ENTRY.finditer(text.rstrip() + "\n"):
        for name in match["names"].split(","):
            found[name.strip().lstrip("*")] = match["type"] or "", match["text"]
    return found


def parameters_of(value):
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return []
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    names = [parameter.name for parameter in parameters if parameter.kind not in several]
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def source_of(value):
    """The syntax tree of a function, without what stands inside it; None where there is no source text."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError, SyntaxError):
        return None
    return next((node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)), None)


def own(tree, kind):
    """The nodes of a kind in a function, but not in functions inside it."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, kind):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def returns_something(value):
    tree = source_of(value)
    annotation = getattr(value, "__annotations__", {}).get("return")
    if (annotation in (None, "None", type(None)) and annotation is not None) or tree is None:
        return False
    found = [node.value for node in own(tree, ast.Return) if node.value is not None]
    return any(not (isinstance(node, ast.Constant) and node.value is None) for node in found)


def raises(value):
    """Whether the text of a function itself raises an error."""
    tree = source_of(value)
    return tree is not None and any(node.exc is not None for node in own(tree, ast.Raise))


def summary_is_missing(value):
    opening = sections(value)[""].strip().splitlines()
    return not opening or not re.search(r"\w.*[.:)]$", opening[0])


def missing(value, *, example=True):
    """The parts that the docstring of a function or a class lacks, in words."""
    found = sections(value)
    words = []
    if summary_is_missing(value):
        words.append("a summary in one line that ends with a full stop")
    described = entries(found.get("Parameters", ""))
    described |= entries(found.get("Attributes", "")) if inspect.isclass(value) else {}
    lacking = [name for name in parameters_of(value) if name not in described]
    if lacking:
        words.append(f"parameters {', '.join(lacking)}")
    bare = [
        name
        for name, (kind, text) in described.items()
        if re.search(r"\barray(_like)?\b", kind) and not re.search(r"\(.*\)|shape", kind + text)
    ]
    if bare:
        words.append(f"shapes of {', '.join(bare)}")
    # A protocol's constructor is its library's.
    called = (
        (None if getattr(value, "_is_protocol", False) else vars(value).get("__init__"))
        if inspect.isclass(value)
        else value
    )
    if not inspect.isclass(value) and returns_something(value) and not {"Returns", "Yields"} & found.keys():
        words.append("what it returns")
    if called is not None and raises(called) and "Raises" not in found:
        words.append("errors that it raises")
    if example and ">>>" not in found.get("Examples", ""):
        words.append("an example")
    return words
