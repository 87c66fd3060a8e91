"""Reading a table's first rows: whether there is a header, which column has the labels, which is an index."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from fastfc.formats.table_text import kind_of

__all__ = [
    "ENOUGH_ROWS",
    "LABEL_NAMES",
    "Column",
    "columns_of",
    "header_is_there",
    "is_id_name",
    "is_index_name",
    "label_column",
    "label_fault",
    "task_of",
    "told_task",
]

LABEL_NAMES = ("label", "target", "class", "y")
_NUMBERS = ("integer", "decimal")
#: From so many rows on, what values have in common is no accident.
ENOUGH_ROWS = 20
_MOST_CLASSES = 100
# As labels, whole numbers are few, and each is in several rows; many of them only where they count without gaps.
_FEW_CLASSES, _ROWS_OF_A_CLASS, _ROWS_OF_MANY_CLASSES = 20, 5, 50


class Column(NamedTuple):
    """A column of the first rows, without the header's cell."""

    cells: list[str]
    kinds: Counter[str]

    @property
    def kind(self) -> str:
        """numbers, booleans, dates, words or nothing, by most of its cells."""
        there = {kind: count for kind, count in self.kinds.items() if kind != "missing"}
        total = sum(there.values())
        if not total:
            return "nothing"
        if there.get("boolean") == total:
            return "booleans"
        if there.get("date", 0) == total:
            return "dates"
        others = there.get("word", 0) + there.get("date", 0) + there.get("boolean", 0)
        return "words" if 2 * others > total else "numbers"

    @property
    def blank(self) -> bool:
        """Whether no cell has anything."""
        return not any(self.cells)

    def all_are(self, kind: str) -> bool:
        """Whether all cells are of a kind."""
        return self.kinds[kind] == len(self.cells) > 0

    def counts(self) -> bool:
        """Whether each value is one more than the one before."""
        return self.all_are("integer") and _is_progression(self.cells, 1)

    def identifies(self) -> bool:
        """Whether each row has a whole number or a text of its own."""
        return (self.all_are("integer") or self.all_are("word")) and len(set(self.cells)) == len(self.cells)


def columns_of(rows: Sequence[Sequence[str]], width: int, decimal: str) -> list[Column]:
    """The columns of rows; those of another width are left to the reader."""
    fitting = [row for row in rows if len(row) == width]
    columns = []
    for i in range(width):
        cells = [row[i] for row in fitting]
        kinds: Counter[str] = Counter()
        for cell, times in Counter(cells).items():
            kinds[kind_of(cell, decimal)] += times
        columns.append(Column(cells, kinds))
    return columns


def _is_progression(cells: Sequence[str], step: int | None = None) -> bool:
    """Whether whole numbers rise or fall in equal steps; in one step if it is given."""
    numbers = [int(cell) for cell in cells]
    steps = {b - a for a, b in pairwise(numbers)}
    return len(steps) <= 1 and steps <= ({step} if step is not None else steps - {0})


# ----------------------------------------------------------------------------------------------- the header


def header_is_there(
    first: Sequence[str], columns: Sequence[Column], decimal: str, known: Collection[str]
) -> tuple[bool | None, str]:
    """Tell whether a table's first row names its columns; None and why if that is unclear.

    Parameters
    ----------
    first : sequence of str
        The cells of the first row.
    columns : sequence of Column
        The columns of the rows below.
    decimal : str
    known : collection of str
        Names that the header, if there is one, would have.
    """
    kinds = [kind_of(cell, decimal) for cell in first]
    is_number = [kind in _NUMBERS or kind == "infinite" for kind in kinds]
    is_name = [kind in ("word", "date") for kind in kinds]
    in_numbers = {name for name in known if kind_of(name, decimal) in _NUMBERS}
    if any(name in first for name in known if name not in in_numbers) or (in_numbers and in_numbers <= set(first)):
        return True, ""
    if not columns or not columns[0].cells:
        return all(is_name), ""
    for cell, column in zip(first, columns, strict=True):
        if cell.casefold() in LABEL_NAMES[:3] and cell not in column.cells:
            return True, ""
    values = [i for i, column in enumerate(columns) if column.kind in ("numbers", "booleans")]
    named = [i for i in values if is_name[i] and columns[i].kinds["word"] == 0]
    if not first[0] and columns[0].counts():
        named.append(0)
    numbers = [i for i, column in enumerate(columns) if is_number[i] and column.kind != "nothing"]
    if not named and not numbers:
        return all(is_name) and not any(first[i] in column.cells for i, column in enumerate(columns)), ""
    digits = [first[i] for i in numbers]
    whole = all(kinds[i] == "integer" and str(int(first[i])) == first[i] for i in numbers)
    other_kind = [i for i in numbers if columns[i].all_are("decimal") or columns[i].kind != "numbers"]
    if named:
        counted = whole and _is_progression(digits, 1) and (len(digits) > 2 or digits[:1] == ["0"])
        if not numbers or counted or (whole and len(other_kind) == len(numbers)):
            return True, ""
        return None, f"its first row has {first[named[0]]!r} above numbers, and {digits[0]!r} above others"
    if not whole or len(set(digits)) < len(digits):
        return False, ""
    # Numbers above numbers: as DataFrame(array) names columns, or as years and wavelengths do.
    rises = len(digits) > 1 and _is_progression(digits)
    unit = rises and _is_progression(digits, 1) and digits[0] in ("0", "1")
    integers = all(columns[i].all_are("integer") for i in numbers)
    repeated = integers and any(map(_is_progression, zip(*(columns[i].cells for i in numbers), strict=True)))
    if unit and (other_kind or len(digits) > 5) and not repeated and (digits[0] == "0" or len(digits) > 2):
        return True, ""
    enough = len(columns[0].cells) >= ENOUGH_ROWS
    new_class = [i for i in numbers if enough and _is_class_like(columns[i]) and first[i] not in columns[i].cells]
    unlike = len({*other_kind, *new_class}) == len(numbers) > 1 and len(columns[0].cells) >= 5
    if (unit and digits[0] == "0") or (rises and len(digits) > 5 and not repeated) or unlike:
        some = ", ".join(first[:6]) + (", ..." if len(first) > 6 else "")
        return None, f"its first row, {some}, can be names or an example"
    return False, ""


_INDEX_NAME = re.compile(r"|unnamed: \d+(\.\d+)*", re.IGNORECASE)
_ID_NAME = re.compile(r"(.*[ _-])?(id|uuid|guid|key)|.*Id|.*ID")


def is_index_name(name: str) -> bool:
    """Whether a column of this name, if it enumerates the rows, is a frame's index: nameless, or named by pandas."""
    return _INDEX_NAME.fullmatch(name) is not None


def is_id_name(name: str) -> bool:
    """Whether a column of this name, if no value comes twice, has ids most likely."""
    return _ID_NAME.fullmatch(name) is not None


# ---------------------------------------------------------------------------------------------- the labels


def _is_class_like(column: Column) -> bool:
    """Whether values look like classes: few whole numbers, or words, that come again and again."""
    distinct = set(column.cells)
    if column.kind in ("words", "booleans"):
        return 1 < len(distinct) <= max(2, len(column.cells) // 2)
    if not column.all_are("integer") or not 1 < len(distinct) <= min(_MOST_CLASSES, len(column.cells) // 2):
        return False
    numbers = {int(cell) for cell in distinct}
    return numbers == {-1, 1} or (min(numbers) in (0, 1) and max(numbers) - min(numbers) < len(numbers))


def label_column(columns: Sequence[Column], candidates: Sequence[int]) -> tuple[int | None, str]:
    """Find the labels by looking: the last column or the first; None and why if that is unclear.

    Parameters
    ----------
    columns : sequence of Column
    candidates : sequence of int
        The columns that are no index and not left out.
    """
    first, last = candidates[0], candidates[-1]
    if columns[last].kind in ("words", "booleans") or len(candidates) < 2:
        return last, ""
    if len(columns[last].cells) < ENOUGH_ROWS:
        return last, ""
    first_like, last_like = _is_class_like(columns[first]), _is_class_like(columns[last])
    if first_like and not last_like:
        if label_fault(Counter(columns[last].cells), ".", guessed=True) is None and columns[first].kind != "words":
            return None, "its first and its last column can both be the labels"
        return first, ""
    if first_like and last_like and columns[first].kind == "words":
        return None, "its first and its last column can both be the labels"
    if first_like and last_like and len(candidates) > 3:
        # Pixels beside labels: most columns reach as far as one of the two, and not as the other.
        most = [max(map(int, columns[i].cells)) for i in candidates if columns[i].all_are("integer")]
        tops = Counter(most)
        first_top, last_top = (max(map(int, columns[i].cells)) for i in (first, last))
        if 2 * tops[last_top] > len(candidates) > 2 * tops[first_top]:
            return first, ""
    return last, ""


def label_fault(counts: Counter[str], decimal: str, *, guessed: bool) -> str | None:
    """Why labels are most likely none, as the end of a sentence about their column; None if they can be labels."""
    rows, distinct = sum(counts.values()), len(counts)
    kinds = {kind_of(text, decimal) for text in counts}
    if rows < ENOUGH_ROWS:
        return None
    if kinds <= {"integer"}:
        numbers = {int(text) for text in counts}
        filled = max(numbers) - min(numbers) < len(numbers)
        if distinct == rows:
            return f"has another whole number in each of {rows} rows: an index, an id or a target for regression"
        if (
            2 * distinct > rows
            or (distinct > 20 and rows < (5 if filled else 10) * distinct)
            or (distinct > _MOST_CLASSES and rows < 50 * distinct)
        ):
            return f"has {distinct} distinct numbers in {rows} rows, a target for regression most likely"
    elif kinds <= set(_NUMBERS) and 2 * distinct > rows:
        return f"has {distinct} distinct numbers in {rows} rows, a target for regression"
    elif kinds <= {"date"}:
        return "has dates"
    elif distinct == rows:
        return f"has another text in each of {rows} rows, an id most likely"
    elif 2 * distinct > rows or (guessed and distinct > _MOST_CLASSES and rows < 10 * distinct):
        return f"has {distinct} distinct texts in {rows} rows, few of them twice"
    if distinct == 1 and guessed:
        return f"has {next(iter(counts))!r} in each of {rows} rows"
    return None


def task_of(values: Collection[str] | Collection[float], rows: int) -> tuple[str, str, bool]:
    """Tell whether a target's values are classes or numbers to predict.

    Words and booleans are classes. Whole numbers are classes if there are at most 20 of them, each in 5 rows or more on
    average, or if they count from 0 or 1 to at most 100, each in 50 rows or more; and in a table of fewer than 20 rows.
    All other numbers are numbers to predict.

    Parameters
    ----------
    values : collection of float, or of str
        The distinct values, which are not missing: numbers if all of them are, else texts.
    rows : int

    Returns
    -------
    task : {"classification", "regression"}
    why : str
        The reason, as it follows "it has".
    is_clear : bool
        Whether nobody would see it the other way.
    """
    distinct = len(values)
    if any(isinstance(value, str) for value in values):
        return "classification", f"{distinct} different words", True
    numbers = [float(value) for value in values]
    if not all(number.is_integer() for number in numbers):
        return "regression", f"fractions, {distinct} different numbers in {rows} rows", distinct > _FEW_CLASSES
    why = f"{distinct} different whole numbers in {rows} rows"
    if rows < ENOUGH_ROWS:
        return "classification", why, distinct <= 2
    if distinct <= _FEW_CLASSES and rows >= _ROWS_OF_A_CLASS * distinct:
        return "classification", why, distinct <= _FEW_CLASSES // 2 and rows >= 2 * _ROWS_OF_A_CLASS * distinct
    counted = min(numbers) in (0, 1) and max(numbers) - min(numbers) < distinct
    if counted and distinct <= _MOST_CLASSES and rows >= _ROWS_OF_MANY_CLASSES * distinct:
        return "classification", f"{why} that count from {min(numbers):g}", False
    return "regression", why, distinct > _MOST_CLASSES


def told_task(values: Collection[str] | Collection[float], rows: int) -> tuple[str, str]:
    """The task of :func:`task_of`, and the end of the line that says how it was found."""
    task, why, is_clear = task_of(values, rows)
    other = "regression" if task == "classification" else "classification"
    return task, f"; {task}, as it has {why}" + ("" if is_clear else f"; --task {other} if that is wrong")
