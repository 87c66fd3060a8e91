"""Versions and requirements that are written in more than one place agree."""

import re
from pathlib import Path

import pytest

import fastfc

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "recipe").exists(), reason="the tests stand alone")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_of_the_changelog_and_of_the_recipe():
    heading = re.search(r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert heading is not None
    assert heading[1] == fastfc.__version__
    assert f'\n  version: "{fastfc.__version__}"\n' in text_of("recipe/recipe.yaml")


def test_the_address_of_the_recipe():
    address = re.search(r'\[project.urls\]\nHomepage = "(.*)"', text_of("pyproject.toml"))[1]
    assert f"\n  homepage: {address}\n" in text_of("recipe/recipe.yaml")


def test_the_requirements_of_the_recipe():
    project, recipe = text_of("pyproject.toml"), text_of("recipe/recipe.yaml")
    listed = project[project.index("\ndependencies = [") :].split("]")[0]
    wanted = re.findall(r'"([a-z-]+)(>=[\d.]+)"', listed)
    assert len(wanted) == 5
    run = recipe[recipe.index("  run:") : recipe.index("tests:")]
    assert re.findall(r"- ([a-z-]+) (>=[\d.]+)", run) == wanted
    build = re.search(r'requires = \["hatchling(>=[\d.]+)"\]', project)
    assert f"- hatchling {build[1]}\n" in recipe
    script = re.search(r'\[project.scripts\]\nfastfc = "(.*)"', project)
    assert f"- fastfc = {script[1]}\n" in recipe


def test_the_versions_of_python():
    oldest = re.search(r'requires-python = ">=(3\.\d+)"', text_of("pyproject.toml"))[1]
    assert f'python_min: "{oldest}"' in text_of("recipe/recipe.yaml")
    tested = re.search(r"python: \[(.*)\]", text_of(".github/workflows/tests.yml"))[1].replace('"', "").split(", ")
    assert tested[0] == oldest
    first, last = (int(version.split(".")[1]) for version in (tested[0], tested[-1]))
    assert tested == [f"3.{minor}" for minor in range(first, last + 1)]
    assert f"Python {tested[0]} to {tested[-1]}" in " ".join(text_of("CONTRIBUTING.md").split())
    assert f"Python {oldest} or newer" in " ".join(text_of("README.md").split())
