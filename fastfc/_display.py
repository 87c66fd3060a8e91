"""Networks in words: one line for a terminal, a table for a notebook."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import prod
from typing import Any

__all__ = ["Layout", "as_html", "as_text"]

#: Names that are shown of the classes of a network with more.
_MOST_NAMES = 10


@dataclass(frozen=True)
class Layout:
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
        shown = ", ".join(map(str, class_names[:_MOST_NAMES]))
        line += f"; classes {shown}{', …' if len(class_names) > _MOST_NAMES else ''}"
    head = _row("th", ("layer", "operation", "output", "parameters", "number"))
    body = "".join(_row("td", row) for row in [("", "input", f"(N, {layout.dims[0]})", "", ""), *rows])
    foot = _row("th", ("", "", "", "all", f"{total:,}"))
    return (
        f"<div><strong>{escape(name)}</strong>: {escape(line)}<table><thead>{head}</thead><tbody>{body}</tbody>"
        f"<tfoot>{foot}</tfoot></table></div>"
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
