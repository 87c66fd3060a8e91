"""Networks and models of tables in words: one line for a terminal, a table for a notebook."""

import itertools
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, NamedTuple

__all__ = ["Layout", "as_html", "as_text", "html_table", "some_names"]

#: Names that are shown of the classes of a network with more.
_MOST_NAMES = 10


class Layout(NamedTuple):
    """Layers of a network: input width, hidden widths and number of outputs; and what stands between them."""

    dims: Sequence[int]
    activation: str
    normalization: str | None
    dropout: str | None

    def rows(self) -> Iterable[tuple[str, str, tuple[int, ...], list[tuple[int, ...]]]]:
        """Layer, operation, shape of the result, and shapes of the parameters."""
        last = len(self.dims) - 1
        for i, (inputs, outputs) in enumerate(itertools.pairwise(self.dims), start=1):
            shape = (outputs,)
            yield str(i), "affine", shape, [(inputs, outputs), shape]
            if i == last:
                return
            if self.normalization is not None:
                yield "", self.normalization, shape, [shape, shape]
            yield "", self.activation, shape, []
            if self.dropout is not None:
                yield "", self.dropout, shape, []


def as_text(name: str, arguments: Sequence[Any], options: dict[str, Any]) -> str:
    """A call, ``name(argument, option=value)``, of the options that are not None."""
    given = [f"{key}={value!r}" for key, value in options.items() if value is not None]
    return f"{name}({', '.join([*map(repr, arguments), *given])})"


def as_html(name: str, layout: Layout, facts: dict[str, Any], class_names: Sequence[str] | None = None) -> str:
    """A table of layers with their shapes and numbers of parameters, under a line of facts.

    Text from files and users is escaped.
    """
    rows, total = [], 0
    for layer, operation, shape, params in layout.rows():
        count = sum(map(prod, params))
        total += count
        shapes = ", ".join(map(str, params))
        rows.append((layer, operation, f"(N, {shape[0]})", shapes, f"{count:,}" if count else ""))
    line = ", ".join(f"{key} {value}" for key, value in facts.items())
    if class_names is not None:
        line += f"; classes {some_names(class_names)}"
    head, first = (
        ("layer", "operation", "output", "parameters", "number"),
        ("", "input", f"(N, {layout.dims[0]})", "", ""),
    )
    return html_table(name, line, [head, first, *rows, ("", "", "", "all", f"{total:,}")])


def some_names(names: Sequence[object]) -> str:
    """Names with commas between them, the first ten of many."""
    return ", ".join(map(str, names[:_MOST_NAMES])) + (", …" if len(names) > _MOST_NAMES else "")


def html_table(name: str, line: str, rows: Sequence[Sequence[str]]) -> str:
    """A table under a line; its first row is the head, its last one the foot. The last column has numbers."""
    from html import escape

    head, *body, foot = rows
    return (
        f"<div><strong>{escape(name)}</strong>: {escape(line)}"
        f'<div style="overflow-x: auto"><table><thead>{_row("th", head)}</thead><tbody>'
        f"{''.join(_row('td', row) for row in body)}</tbody><tfoot>{_row('th', foot)}</tfoot></table></div></div>"
    )


def _row(tag: str, cells: Sequence[str]) -> str:
    from html import escape

    # Pages differ in where they put the text of cells; notebooks put it to the right.
    sides = ["left"] * (len(cells) - 1) + ["right"]
    shown = (
        f'<{tag} style="text-align: {side}; padding: .1em .6em">{escape(cell)}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"
