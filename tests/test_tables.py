"""The measured tables of the README and the documentation: from asv_bench/results, by asv_bench/tables.py."""

import shutil

import pytest
import tables


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Copies of the pages, which the script then works on."""
    copies = [tmp_path / page.name for page in tables.PAGES]
    for page, copy in zip(tables.PAGES, copies, strict=True):
        shutil.copy(page, copy)
    monkeypatch.setattr(tables, "PAGES", copies)
    return copies


def page_with(pages, marker):
    (page,) = [page for page in pages if marker in page.read_text(encoding="utf-8")]
    return page


def test_pages_and_results_agree():
    assert tables.main(["--check"]) == 0


@pytest.mark.parametrize("name", tables.SOURCES)
def test_a_changed_figure_is_noticed_and_written_again(pages, capsys, name):
    marker = f"<!-- table: {name} -->"
    page = page_with(pages, marker)
    right = page.read_text(encoding="utf-8")
    others = [other.read_text(encoding="utf-8") for other in pages if other != page]
    start = right.index(marker)
    changed = right[:start] + right[start:].replace("(", "(9", 1)
    page.write_text(changed, encoding="utf-8")
    assert tables.main(["--check"]) == 1
    assert f"{page.name} and asv_bench/results disagree" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == changed
    assert tables.main([]) == 0
    assert page.read_text(encoding="utf-8") == right
    assert [other.read_text(encoding="utf-8") for other in pages if other != page] == others
    assert tables.main(["--check"]) == 0


@pytest.mark.parametrize("marker", [f"<!-- table: {name} -->" for name in tables.SOURCES])
def test_a_lost_marker_is_an_error(pages, capsys, marker):
    page = page_with(pages, marker)
    text = page.read_text(encoding="utf-8").replace(marker, "")
    page.write_text(text, encoding="utf-8")
    before = [each.read_text(encoding="utf-8") for each in pages]
    assert tables.main([]) == 1
    assert "expected the markers of table" in capsys.readouterr().err
    assert [each.read_text(encoding="utf-8") for each in pages] == before


def test_a_table_in_two_pages_is_an_error(pages, capsys):
    for page in pages:
        with page.open("a", encoding="utf-8") as file:
            file.write("<!-- table: kernels -->\n<!-- end -->\n")
    before = [page.read_text(encoding="utf-8") for page in pages]
    assert tables.main([]) == 1
    assert f"table kernels once, found them {len(pages) + 1} times" in capsys.readouterr().err
    assert [page.read_text(encoding="utf-8") for page in pages] == before


def test_text_between_the_markers_is_taken_literally():
    one = "a\n<!-- table: one -->\nold\n<!-- end -->\nb\n"
    two = "<!-- table: two -->\n<!-- end -->\n"
    found = {"one": "\\1 | x\n", "two": "y\n"}
    wanted = tables.with_tables([one + two], found)
    assert wanted == [
        "a\n<!-- table: one -->\n\n\\1 | x\n\n<!-- end -->\nb\n<!-- table: two -->\n\ny\n\n<!-- end -->\n"
    ]
    assert tables.with_tables(wanted, found) == wanted
    assert "".join(tables.with_tables([one, two], found)) == wanted[0]


def test_a_table_of_some_variants():
    some = tables.table_of("steps", ("plain",))
    assert "**plain**" in some
    assert "**batchnorm + dropout**" not in some
    assert some.splitlines()[2:12] == tables.table_of("steps", None).split("**plain**\n")[1].splitlines()[1:11]
