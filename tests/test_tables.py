"""The README's tables: from the files in asv_bench/results, by asv_bench/tables.py."""

import shutil

import pytest
import tables


@pytest.fixture
def readme(tmp_path, monkeypatch):
    """A copy of the README, which the script then works on."""
    copy = tmp_path / "README.md"
    shutil.copy(tables.README, copy)
    monkeypatch.setattr(tables, "README", copy)
    return copy


def test_readme_and_results_agree():
    assert tables.main(["--check"]) == 0


def test_a_changed_figure_is_noticed_and_written_again(readme, capsys):
    right = readme.read_text(encoding="utf-8")
    start = right.index("<!-- table: steps -->")
    changed = right[:start] + right[start:].replace("(", "(9", 1)
    readme.write_text(changed, encoding="utf-8")
    assert tables.main(["--check"]) == 1
    assert "disagree" in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == changed
    assert tables.main([]) == 0
    assert readme.read_text(encoding="utf-8") == right
    assert tables.main(["--check"]) == 0


@pytest.mark.parametrize("marker", [f"<!-- table: {name} -->" for name in tables.SOURCES])
def test_a_lost_marker_is_an_error(readme, capsys, marker):
    text = readme.read_text(encoding="utf-8").replace(marker, "")
    readme.write_text(text, encoding="utf-8")
    assert tables.main([]) == 1
    assert "expected the markers of table" in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == text


def test_text_between_the_markers_is_taken_literally():
    text = "a\n<!-- table: one -->\nold\n<!-- end -->\nb\n<!-- table: two -->\n<!-- end -->\n"
    wanted = tables.with_tables(text, {"one": "\\1 | x\n", "two": "y\n"})
    assert wanted == (
        "a\n<!-- table: one -->\n\n\\1 | x\n\n<!-- end -->\nb\n<!-- table: two -->\n\ny\n\n<!-- end -->\n"
    )
    assert tables.with_tables(wanted, {"one": "\\1 | x\n", "two": "y\n"}) == wanted
