"""The README, the pages in docs/ and the docstrings: examples run, and every name, file and command in them exists."""

import contextlib
import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
import shlex
import sys
from pathlib import Path

import docstrings
import pytest

import fastfc
import fastfc.cli

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_COMPILER = bool(importlib.import_module("numba").config.DISABLE_JIT)
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "api").glob("*.md")),
]
# Packages for developers: their docstrings are read in the source.
DEVELOPERS = ("kernels", "reference", "training", "bench", "datasets")
# Their public objects have names elsewhere too.
BEHIND_OTHERS = ("formats", "ops", "course")

FENCE = re.compile(r"(?P<before>[^\n]*\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
FOLDERS = ("fastfc/", "asv_bench/", "tests/", "docs/", ".ci/")


def named(path):
    return str(path.relative_to(ROOT))


def blocks(page, language):
    """The blocks of a page in a language: the line of their first line, their text and the line before them."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["language"] == language:
            yield text.count("\n", 0, match.start("code")) + 1, match["code"], match["before"] or ""


def is_left_out(before):
    return before.startswith("<!-- not run: ")


def public_modules():
    names = ["fastfc"]
    for module in pkgutil.walk_packages(fastfc.__path__, "fastfc."):
        parts = module.name.split(".")[1:]
        if not any(part.startswith("_") for part in parts) and parts[0] not in DEVELOPERS:
            names.append(module.name)
    return [name for name in names if hasattr(importlib.import_module(name), "__all__")]


MODULES = public_modules()
REFERENCE = [module for module in MODULES if module.split(".")[1:2] not in [[name] for name in BEHIND_OTHERS]]


class Runner(doctest.DocTestRunner):
    """Raises nothing; what failed is in `text`."""

    def __init__(self):
        super().__init__(verbose=False, optionflags=doctest.ELLIPSIS)
        self.text = ""

    def check(self, test):
        out = []
        self.run(test, out=out.append, clear_globs=False)
        self.text += "".join(out)
        return self


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another working folder, a finished cs231n package to be imported, and the default backend."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent / "course_package")
    with fastfc.use_backend("fast"):
        yield
    fastfc.unpatch()
    fastfc.uninstall()
    for name in [name for name in sys.modules if name.split(".")[0] == "cs231n"]:
        del sys.modules[name]


def with_examples(language="python"):
    return [page for page in PAGES if any(not is_left_out(before) for *_, before in blocks(page, language))]


@pytest.mark.skipif(WITHOUT_COMPILER, reason="too much work for kernels without the compiler")
@pytest.mark.parametrize("page", with_examples(), ids=named)
def test_examples_of_pages(page, elsewhere):
    namespace = {"__name__": "example"}
    runner = Runner()
    for line, code, before in blocks(page, "python"):
        if is_left_out(before):
            continue
        if code.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(code, {}, named(page), str(page), line - 1)
            # The parser copies a dictionary; later blocks are to see what this one defines.
            test.globs = namespace
            assert runner.check(test).failures == 0, runner.text
        else:
            # Empty lines in front: a traceback then has the page's line.
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def test_the_pages_have_examples():
    assert {"README.md", "docs/quickstart.md", "docs/course.md", "docs/saving.md"} <= set(map(named, with_examples()))


def examples_of(module):
    """The doctests of a module, and those of the public names that it has from private ones."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    loaded = importlib.import_module(module)
    found = finder.find(loaded, module)
    for name in loaded.__all__:
        value = getattr(loaded, name)
        home = getattr(value, "__module__", None)
        documented = inspect.isclass(value) or inspect.isroutine(value)
        if documented and home != module and any(part.startswith("_") for part in home.split(".")):
            found += finder.find(value, f"{module}.{name}", module=sys.modules[home])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings(module, elsewhere):
    runner = Runner()
    for test in examples_of(module):
        runner.check(test)
    assert runner.failures == 0, runner.text


def test_docstrings_have_examples():
    assert sum(len(test.examples) for name in MODULES for test in examples_of(name)) > 500


def commands():
    """Calls of fastfc in the pages' shell blocks."""
    for page in PAGES:
        for _, code, _ in blocks(page, "sh"):
            for part in re.split(r"&&|\n", code):
                words = shlex.split(part, comments=True)
                if words[:1] == ["fastfc"]:
                    yield pytest.param(words[1 : words.index(">") if ">" in words else None], id=part.strip())


@pytest.mark.parametrize("arguments", list(commands()))
def test_commands_are_understood(arguments):
    with contextlib.suppress(KeyError):
        # Programs of the command `run` have arguments of their own.
        assert fastfc.cli._parser().parse_args(arguments).run is not None


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for code in CODE.findall(text):
        if code.startswith(FOLDERS) and not code.startswith("docs/_build"):
            assert (ROOT / code).exists(), code
        elif re.fullmatch(r"test_\w+\.py", code):
            assert (ROOT / "tests" / code).exists(), code
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        # Pages that are shown as they are, and pages that Sphinx makes links of.
        name, _, place = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if place and linked.suffix == ".md":
            assert place in places(linked), target


def places(page):
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_names_exist(page):
    for code in CODE.findall(page.read_text(encoding="utf-8")):
        name = re.match(r"fastfc(\.[A-Za-z_]\w*)+", code)
        if name:
            pkgutil.resolve_name(name[0])


def public_names(module):
    """The public functions and classes of a module by their names, and the classes' public methods by theirs."""
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        value = getattr(loaded, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        yield name, value
        for key, member in vars(value).items() if inspect.isclass(value) else ():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            # One without a docstring of its own overrides a method that has one.
            if not key.startswith("_") and inspect.isfunction(function) and function.__doc__ is not None:
                yield f"{name}.{key}", function


@pytest.mark.parametrize("module", REFERENCE)
def test_every_docstring_is_complete(module):
    """Summary, parameters with their shapes, results, errors; and an example for what is no method and no error."""
    assert docstrings.summary_is_missing(importlib.import_module(module)) is False
    lacking = {}
    for name, value in public_names(module):
        error = inspect.isclass(value) and issubclass(value, BaseException)
        words = docstrings.missing(value, example="." not in name and not error)
        if words:
            lacking[name] = words
    assert lacking == {}


@pytest.mark.parametrize("module", ["activations", "initializers", "layer_utils", "layers", "losses", "optim"])
def test_formulas_have_sources(module):
    """A year, or where somebody else has it. A backward pass follows from its forward pass."""
    source = re.compile(r"\b(1[5-9]|20)\d\d\b|CS231n|PyTorch|scikit-learn")
    loaded = importlib.import_module(f"fastfc.{module}")
    functions = {name for name in loaded.__all__ if inspect.isfunction(getattr(loaded, name))}
    # The identity has none, and `draw` calls the others.
    followers = {name for name in functions if name.endswith("_backward")} | {"draw", "identity_forward"}
    assert [name for name in sorted(functions - followers) if not source.search(getattr(loaded, name).__doc__)] == []


@pytest.mark.parametrize("module", REFERENCE)
def test_every_property_has_a_summary(module):
    bare = []
    for name, value in public_names(module):
        if not inspect.isclass(value):
            continue
        described = docstrings.entries(docstrings.sections(value).get("Attributes", ""))
        for key, member in vars(value).items():
            if isinstance(member, property) and not key.startswith("_") and key not in described:
                bare += [f"{name}.{key}"] if docstrings.summary_is_missing(member) else []
    assert bare == []


@pytest.mark.parametrize("module", REFERENCE)
def test_every_public_name_is_in_the_reference(module):
    directives = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        directives.update(re.findall(r"^\.\. auto\w+:: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    if module != "fastfc":
        assert module in directives
    else:
        assert [n for n in fastfc.__all__ if f"fastfc.{n}" not in directives and n != "__version__"] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_links_of_built_pages(tmp_path):
    """docs/links.py finds files, pictures and places that are not there, and nothing else."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top"><a href="#top">a</a><a href="sub/page.html#here">b</a><a href="sub/">c</a>'
        '<a href="https://example.org/x">d</a><a href="mailto:a@b">e</a><img src="no.png"><a href="#bottom">f</a>'
        '<a class="viewcode-back" href="sub/page.html#other">g</a>'
    )
    (tmp_path / "sub" / "index.html").write_text('<a href="../index.html#top">a</a><a href="gone.html">b</a>')
    (tmp_path / "sub" / "page.html").write_text('<p id="here"><a href="../index.html#nowhere">a</a>')
    links = runpy.run_path(str(ROOT / "docs" / "links.py"))
    assert links["broken_links"](tmp_path) == [
        ("index.html", "no.png"),
        ("index.html", "#bottom"),
        ("sub/index.html", "gone.html"),
        ("sub/page.html", "../index.html#nowhere"),
    ]
    assert links["main"](tmp_path) == 1
