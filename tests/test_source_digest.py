"""The digest of source text in the names of compiled kernels covers whatever can end up in machine code."""

import ast
import shutil
from pathlib import Path

import pytest

import fastfc
from fastfc._runtime import kernel_cache

PACKAGE = Path(fastfc.__file__).parent
# Decorators of functions that are compiled.
COMPILES = {
    "approximate_division", "glue", "inline", "intrinsic", "kernel", "reassociated", "record", "standalone",
}  # fmt: skip


def sources():
    """Every source file of the package, by its module's name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(["fastfc", *(part for part in parts if part != "__init__")]), path


MODULES = dict(sources())


def covered(path):
    return any(path.is_relative_to(PACKAGE / name) for name in kernel_cache.SOURCE_FOLDERS)


def is_compiled(tree):
    return any(
        isinstance(node, ast.FunctionDef | ast.ClassDef)
        and any(ast.unparse(decorator).partition("(")[0] in COMPILES for decorator in node.decorator_list)
        for node in ast.walk(tree)
    )


def imported(tree):
    """Modules of the package whose names a file's functions can use: those that it imports at its top."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_file_with_compiled_functions_and_what_it_imports():
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    reached = [name for name, tree in trees.items() if is_compiled(tree)]
    assert {"fastfc.training.epoch", "fastfc.kernels.norm", "fastfc.kernels.lowering.matmul"} <= set(reached)
    for name in reached:
        reached += [other for other in imported(trees[name]) if other in MODULES and other not in reached]
    assert [name for name in reached if not covered(MODULES[name])] == []


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package, whose digest is taken."""
    shutil.copytree(PACKAGE, tmp_path / "fastfc", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    monkeypatch.setattr(kernel_cache, "_PACKAGE", tmp_path / "fastfc")
    return tmp_path / "fastfc"


def test_an_edit_of_any_file(copied):
    files = [path for name in kernel_cache.SOURCE_FOLDERS for path in (copied / name).rglob("*.py")]
    assert {"kernels", "lowering", "compiler", "training", "_runtime", "ops"} <= {path.parent.name for path in files}
    digests = {kernel_cache._digest_of_source()}
    for path in files:
        path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
        digests.add(kernel_cache._digest_of_source())
    assert len(digests) == 1 + len(files)


def test_a_file_that_is_moved_added_or_removed(copied):
    before = kernel_cache._digest_of_source()
    new = copied / "kernels" / "lowering" / "deep" / "new.py"
    new.parent.mkdir()
    new.touch()
    added = kernel_cache._digest_of_source()
    moved = new.rename(copied / "kernels" / "lowering" / "new.py")
    assert len({before, added, kernel_cache._digest_of_source()}) == 3
    moved.unlink()
    assert kernel_cache._digest_of_source() == before


def test_other_files_do_not_count(copied):
    """Compiled kernels and bytecode lie beside the source text; so does its documentation."""
    before = kernel_cache._digest_of_source()
    for folder in (path for path in list(copied.rglob("*")) if path.is_dir()):
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "a.pyc").write_bytes(b"1")
        (folder / "__pycache__" / "b.py").write_bytes(b"1")
        (folder / "notes.md").write_bytes(b"1")
    (copied / "cli" / "train.py").write_text("")
    assert kernel_cache._digest_of_source() == before
