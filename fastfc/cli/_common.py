"""Common to the commands: errors in one line, the parser's types, and the checks of data."""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from fastfc.cli._streams import silence

if TYPE_CHECKING:
    import numpy as np

DIVERGED, ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

EXIT_CODES = """\
exit codes:
  0    done
  1    train: the loss became nan or infinite; check: a kernel is out of tolerance
  2    wrong options, files or data: one line on stderr says which
  130  interrupted by Ctrl-C; train then saves the best parameters so far
  run ends in the program's own exit code
"""

BACKEND: dict[str, Any] = {
    "choices": ["fast", "reference"],
    "help": "compiled kernels or plain NumPy (default: $FASTFC_BACKEND, else fast)",
}


class CommandError(Exception):
    """Something that the user can mend; the message is the line to show."""


@contextlib.contextmanager
def reported(*kinds: type[Exception], what: str | None = None) -> Iterator[None]:
    """Turn errors of these kinds into the line that the user sees, after `what` failed."""
    try:
        yield
    except kinds as error:
        text = " ".join(str(error).split()) or ("not enough memory" if isinstance(error, MemoryError) else repr(error))
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename}: {error.strerror}" if error.filename and not what else error.strerror
        raise CommandError(f"{what}: {text}" if what else text) from error


@contextlib.contextmanager
def writing_results() -> Iterator[None]:
    """Flush stdout while its errors can still be told."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except UnicodeEncodeError as error:
        raise CommandError(f"cannot write to standard output: {error}; PYTHONIOENCODING=utf-8 may help") from error
    except OSError as error:
        # Text that is left in the buffer would fail again, with a traceback, when Python ends.
        silence(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise CommandError(f"cannot write to standard output: {error.strerror}") from error


@contextlib.contextmanager
def computing(backend: str | None) -> Iterator[None]:
    """Compute with the backend that was asked for, environment variables checked first."""
    import numpy as np

    with reported(ValueError):
        chosen = importlib.import_module("fastfc.backend")  # which reads FASTFC_BACKEND
        importlib.import_module("fastfc._runtime.threads").get_num_threads()  # which reads FASTFC_NUM_THREADS
        importlib.import_module("fastfc.course.years")  # which reads FASTFC_LEGACY
    # Values that are not finite are looked for, and told in words.
    with chosen.use_backend(backend or chosen.get_backend()), np.errstate(all="ignore"):
        yield


class Parser(argparse.ArgumentParser):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(ERROR, f"fastfc: error: {' '.join(message.split())} (see {self.prog} --help)\n")


class Store(argparse.Action):
    """Stores an option's value, and in ``given`` that it was given, which its default does not tell."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.given = {*getattr(namespace, "given", ()), self.dest}


def number(kind: Callable[[str], Any], accepts: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    """An argparse type: a number that `accepts` holds for."""

    def parse(text: str) -> Any:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if accepts(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return parse


count = number(int, lambda n: n >= 1, "a positive whole number")
seed = number(int, lambda n: 0 <= n < 2**32, "a whole number from 0 to 2**32 - 1")
positive = number(float, lambda x: 0 < x < math.inf, "a positive number")
not_negative = number(float, lambda x: 0 <= x < math.inf, "a number of at least 0")
probability = number(float, lambda x: 0 < x <= 1, "a probability above 0 and at most 1")
fraction = number(float, lambda x: 0 < x < 1, "a fraction between 0 and 1")


def widths(text: str) -> list[int]:
    if text == "none":
        return []
    try:
        return [count(part) for part in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"expected positive whole numbers with commas between them, such as 256,128, or none, got {text!r}"
        ) from None


def add_network_options(parser: Any, hidden: str, keep: float) -> None:
    """The options of a network that every command which makes one takes, with the defaults of this one."""
    parser.add_argument(
        "--hidden",
        type=widths,
        metavar="WIDTHS",
        default=hidden,
        help="widths of the hidden layers, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--normalization",
        choices=["batchnorm", "layernorm", "none"],
        default="batchnorm",
        help="normalization before each activation (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        type=probability,
        metavar="P",
        default=keep,
        help="dropout: probability to KEEP a hidden value; 1 is no dropout (default: %(default)s)",
    )
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="(default: %(default)s)")


def _separator(text: str) -> str:
    return "\t" if text in ("tab", r"\t") else text


def _columns(text: str) -> list[str]:
    """Names with commas between them; a name with a comma of its own stands in double quotes, as in a table."""
    return next(csv.reader([text], skipinitialspace=True), [])


def add_table_options(parser: Any) -> None:
    """How to read a text table, where looking at it is not enough."""
    parser.add_argument(
        "--drop",
        type=_columns,
        metavar="COLUMNS",
        action="extend",
        default=[],
        help="columns of a table to leave out, such as an id, by name or by number from 0, with commas between them",
    )
    parser.add_argument(
        "--header", choices=["yes", "no"], help="whether the first line names the columns (default: it is detected)"
    )
    parser.add_argument(
        "--separator", type=_separator, metavar="CHAR", help="between columns, or tab (default: it is looked for)"
    )
    parser.add_argument("--decimal", metavar="CHAR", help="decimal point, . or , (default: it is looked for)")
    parser.add_argument("--encoding", metavar="NAME", help="such as cp1252 or utf-16 (default: it is looked for)")
    parser.add_argument(
        "--missing",
        choices=["error", "drop"],
        help="drop leaves out rows with empty cells (default: error, but fastfc train fills them in where it has "
        "fastfc[tabular])",
    )


def table_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those options as arguments of load_dataset and load_samples."""
    return {
        "target": args.target,
        "header": None if args.header is None else args.header == "yes",
        "separator": args.separator,
        "decimal": args.decimal,
        "encoding": args.encoding,
        "missing": "drop" if args.missing == "drop" else None,
        "drop": tuple(args.drop),
    }


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Show warnings meant for the user as lines like the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
            if issubclass(category, UserWarning):
                print(f"fastfc: warning: {' '.join(str(message).split())}", file=sys.stderr)
            else:
                others(message, category, *rest, **named)

        warnings.showwarning = show
        yield


def check_values(X: np.ndarray, dtype: Any, source: str, names: Sequence[str] | None = None) -> None:
    """One nan or infinity among the features, which may have names, would spread over all parameters."""
    import numpy as np

    limit = float(np.finfo(dtype).max)
    if X.dtype.kind == "f" and not (-limit <= X.min() and X.max() <= limit):
        where = ""
        if names is not None:
            where = f" in column {names[int(np.argmin((np.abs(X) <= limit).all(axis=0)))]!r}"
        raise CommandError(f"{source} has nan, infinite or too large values for {np.dtype(dtype)}{where}")


def shown_accuracy(predicted: np.ndarray, y: np.ndarray) -> str:
    return f"{100 * (predicted == y).mean():.1f} % ({len(y)} examples)"


def shown_errors(predicted: np.ndarray, y: np.ndarray) -> str:
    """R2 and the root of the mean squared error of predicted numbers (N,), of targets y (N,)."""
    import numpy as np

    squares = (predicted.astype(np.float64) - y) ** 2
    spread = ((y - y.mean()) ** 2).sum()
    score = f"{1 - squares.sum() / spread:.3f}" if spread > 0 else "none, as all targets are equal"
    return f"{score}, RMSE: {np.sqrt(squares.mean()):.4g} ({len(y)} examples)"
