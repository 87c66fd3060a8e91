"""The command ``fastfc``: train a network, predict with it, check the kernels.

Whatever a user can get wrong ends in one line on stderr and exit code 2. NumPy, Numba and
the rest are imported by the commands that need them, so that ``fastfc --help`` is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

from fastfc import __version__

if TYPE_CHECKING:
    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.solver import Solver

    _State = tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]

__all__ = ["main"]

DIVERGED, ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

_EXIT_CODES = """\
exit codes:
  0    done
  1    train: the loss became nan or infinite; check: a kernel is out of tolerance
  2    wrong options, files or data: one line on stderr says which
  130  interrupted by Ctrl-C; train then saves the best parameters so far
"""

_TRAIN_EPILOG = f"""\
examples:
  fastfc train
  fastfc train --data table.csv --target species --standardize --hidden 32 --epochs 50
  fastfc train --data cifar-10 --hidden 512,256 --reg 1e-4 --out cifar.npz --plot cifar.png

The progress goes to stderr, the results to stdout. A training whose loss becomes nan or
infinite is stopped, and what was best before that is saved.

{_EXIT_CODES}"""

_PREDICT_EPILOG = """\
examples:
  fastfc predict model.npz fashion-mnist > labels.txt
  fastfc predict iris.npz flowers.csv --target none

The classes go to stdout; the accuracy, if the data has labels, to stderr.
"""

PLOT_SUFFIXES = (".png", ".pdf", ".svg")
RULES = ("adam", "adamw", "sgd", "sgd_momentum", "nesterov", "rmsprop", "adagrad")


class _CommandError(Exception):
    """Something that the user can mend; the message is the line to show."""


class _RehearsalError(Exception):
    """Ends the writing of a file before it appears."""


class _DivergedError(Exception):
    """The loss or a parameter is not finite: no further step can help."""


@contextlib.contextmanager
def _reported(*kinds: type[Exception], what: str | None = None) -> Iterator[None]:
    """Turn errors of these kinds into the line that the user sees, after `what` failed."""
    try:
        yield
    except kinds as error:
        text = " ".join(str(error).split()) or ("not enough memory" if isinstance(error, MemoryError) else repr(error))
        if isinstance(error, OSError) and error.strerror:
            text = f"{error.filename}: {error.strerror}" if error.filename and not what else error.strerror
        raise _CommandError(f"{what}: {text}" if what else text) from error


@contextlib.contextmanager
def _writing_results() -> Iterator[None]:
    """Flush stdout while its errors can still be told."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except UnicodeEncodeError as error:
        raise _CommandError(f"cannot write to standard output: {error}; PYTHONIOENCODING=utf-8 may help") from error
    except OSError as error:
        # What is left in the buffer would fail again, with a traceback, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise _CommandError(f"cannot write to standard output: {error.strerror}") from error


# ------------------------------------------------------------------------------------------- the parser


class _Parser(argparse.ArgumentParser):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(ERROR, f"fastfc: error: {' '.join(message.split())} (see {self.prog} --help)\n")


def _number(kind: Callable[[str], Any], accepts: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    """An argparse type: a number that `accepts` holds for."""

    def parse(text: str) -> Any:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if accepts(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return parse


_count = _number(int, lambda n: n >= 1, "a positive whole number")
_seed = _number(int, lambda n: 0 <= n < 2**32, "a whole number from 0 to 2**32 - 1")
_positive = _number(float, lambda x: 0 < x < math.inf, "a positive number")
_not_negative = _number(float, lambda x: 0 <= x < math.inf, "a number of at least 0")
_probability = _number(float, lambda x: 0 < x <= 1, "a probability above 0 and at most 1")
_fraction = _number(float, lambda x: 0 < x < 1, "a fraction between 0 and 1")


def _widths(text: str) -> list[int]:
    if text == "none":
        return []
    try:
        return [_count(part) for part in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"expected positive whole numbers with commas between them, such as 256,128, or none, got {text!r}"
        ) from None


def _weight_scale(text: str) -> float | str:
    return "he" if text == "he" else _number(float, lambda x: 0 < x < math.inf, "a positive number or he")(text)


def _parser() -> _Parser:
    parser = _Parser(
        prog="fastfc",
        description="Train fully connected networks, fast, on a CPU.",
        epilog=f"examples:\n  fastfc train\n  fastfc predict model.npz fashion-mnist\n  fastfc check\n\n{_EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"fastfc {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_predict(commands)
    _add_check(commands)
    return parser


_BACKEND: dict[str, Any] = {
    "choices": ["fast", "reference"],
    "help": "compiled kernels or plain NumPy (default: $FASTFC_BACKEND, else fast)",
}


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a network and save it",
        description="Train a fully connected network and save it. Without options it trains on the subset of\n"
        "Fashion-MNIST that comes with the package: 4000 pictures to train, 1000 to test.",
        epilog=_TRAIN_EPILOG,
    )
    train.set_defaults(run=_train)

    data = train.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="DATA",
        default="fashion-mnist",
        help="fashion-mnist, fashion-mnist-full or cifar-10, or a path: an .npz or .csv file, a folder of idx files, "
        "a folder cifar-10-batches-py (default: %(default)s)",
    )
    data.add_argument(
        "--target",
        metavar="COLUMN",
        help="label column of a .csv file, by name or by number from 0 (default: label, target, class, y or the last)",
    )
    data.add_argument(
        "--val-fraction",
        type=_fraction,
        metavar="FRACTION",
        default=0.05,
        help="share of the training data to hold out if the data has no validation part (default: %(default)s)",
    )
    data.add_argument(
        "--standardize",
        action="store_true",
        help="bring every feature to mean 0 and deviation 1 over the training data; by default pictures of bytes lose "
        "their mean picture and are divided by 255, and other data is used as it is",
    )

    net = train.add_argument_group("network")
    net.add_argument(
        "--hidden",
        type=_widths,
        metavar="WIDTHS",
        default="256,128",
        help="widths of the hidden layers, or none (default: %(default)s)",
    )
    net.add_argument(
        "--normalization",
        choices=["batchnorm", "layernorm", "none"],
        default="batchnorm",
        help="what stands before each ReLU (default: %(default)s)",
    )
    net.add_argument(
        "--keep",
        type=_probability,
        metavar="P",
        default=0.6,
        help="dropout: probability to KEEP a hidden value; 1 is no dropout (default: %(default)s)",
    )
    net.add_argument(
        "--weight-scale",
        type=_weight_scale,
        metavar="SCALE",
        default=1e-2,
        help="standard deviation of the first weights, or he for sqrt(2 / inputs of the layer) (default: %(default)s)",
    )
    net.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="(default: %(default)s)")

    rule = train.add_argument_group("training")
    rule.add_argument(
        "--rule", choices=RULES, metavar="RULE", default="adam", help=f"{', '.join(RULES)} (default: %(default)s)"
    )
    rule.add_argument(
        "--learning-rate",
        type=_positive,
        metavar="RATE",
        help="(default: the rule's own, 1e-3 for adam and adamw, 1e-2 for the others)",
    )
    rule.add_argument(
        "--lr-decay",
        type=_positive,
        metavar="FACTOR",
        default=0.9,
        help="factor of the learning rate after each epoch (default: %(default)s)",
    )
    rule.add_argument(
        "--reg",
        type=_not_negative,
        metavar="STRENGTH",
        default=0.0,
        help="L2 penalty: 0.5 * STRENGTH * sum of squared weights (default: %(default)s)",
    )
    rule.add_argument("--epochs", type=_count, metavar="N", default=20, help="(default: %(default)s)")
    rule.add_argument(
        "--batch-size",
        type=_count,
        metavar="N",
        default=100,
        help="examples a step, no more than there are (default: %(default)s)",
    )
    rule.add_argument("--seed", type=_seed, metavar="N", default=0, help="of all random numbers (default: %(default)s)")
    rule.add_argument("--backend", **_BACKEND)

    out = train.add_argument_group("output")
    out.add_argument(
        "--select",
        choices=["last", "best"],
        default="last",
        help="parameters to save: those after the last epoch, or those with the best validation accuracy, which "
        "suits data with many validation examples (default: %(default)s)",
    )
    out.add_argument(
        "--out",
        metavar="FILE",
        default="model.npz",
        help="where to save the model; an older file is replaced (default: %(default)s)",
    )
    out.add_argument(
        "--plot", metavar="FILE", help="where to save a plot of loss and accuracy: .png, .pdf, .svg; needs fastfc[plot]"
    )
    out.add_argument("--quiet", action="store_true", help="show no progress")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="print the class of each example",
        description="Print the class of each example, one a line.",
        epilog=_PREDICT_EPILOG,
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("model", metavar="MODEL", help="a file that fastfc train saved")
    predict.add_argument("data", metavar="DATA", help="as in fastfc train; labels may be missing; also an idx file")
    predict.add_argument(
        "--target", metavar="COLUMN", help="label column of a .csv file, or none (default: found by name or width)"
    )
    predict.add_argument(
        "--split",
        choices=["test", "val", "train"],
        default="test",
        help="part of data that has parts (default: %(default)s)",
    )
    predict.add_argument("--backend", **_BACKEND)


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="compare every compiled kernel with NumPy on this machine",
        description="Run every operation in both implementations: largest error and speed ratio.\n"
        "Ends with exit code 1 if a kernel is out of tolerance.",
    )
    check.set_defaults(run=_check, backend=None)
    check.add_argument(
        "--dtype", choices=["float32", "float64"], nargs="+", metavar="DTYPE", help="float32, float64 (default: both)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 done, 1 diverged or out of tolerance, 2 a mistake of the user's, 130 Ctrl-C, 141 a
        reader that went away.

    Raises
    ------
    SystemExit
        With code 2 for wrong options, and with code 0 after ``--help`` and ``--version``.

    Examples
    --------
    >>> main(["train", "--epochs", "5", "--out", "fashion.npz"])  # doctest: +SKIP
    0
    """
    try:
        with _writing_results():
            args = _parser().parse_args(argv)
        import numpy as np

        with _reported(ValueError):
            backend = importlib.import_module("fastfc.backend")  # which reads FASTFC_BACKEND
            importlib.import_module("fastfc._threads").get_num_threads()  # which reads FASTFC_NUM_THREADS
        # What is not finite is looked for, and told in words.
        with backend.use_backend(args.backend or backend.get_backend()), np.errstate(all="ignore"):
            return args.run(args)
    except _CommandError as error:
        print(f"fastfc: error: {error}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print("fastfc: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE


# ---------------------------------------------------------------------------------------------- training


def _train(args: argparse.Namespace) -> int:
    _check_outputs(args)
    import numpy as np

    from fastfc.solver import Solver

    data = _training_data(args)
    np.random.seed(args.seed)
    with _reported(MemoryError, ValueError, what="cannot make this network"):
        model = _network(args, data)
    batch_size = min(args.batch_size, len(data["X_train"]))
    steps = args.epochs * (len(data["X_train"]) // batch_size)
    watch = _Watch(model, steps)
    solver = Solver(
        model,
        data,
        update_rule=args.rule,
        optim_config={} if args.learning_rate is None else {"learning_rate": args.learning_rate},
        lr_decay=args.lr_decay,
        batch_size=batch_size,
        num_epochs=args.epochs,
        verbose=False,
        callback=watch,
    )
    start = perf_counter()
    code = _run(solver, watch, args)
    seconds = perf_counter() - start
    state = watch.last if code == 0 and args.select == "last" else watch.best or watch.last
    if code != 0:
        _explain(code, solver, steps, saved=state is not None)
    if state is None:
        return code
    _restore(model, state)
    with _reported(OSError, what=f"cannot write {args.out}"):
        model.save(args.out)
    with _writing_results():
        print(_summary(args, model, data, solver, seconds))
    if args.plot is not None:
        _plot(solver, args.plot)
    return code


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before the training what would keep its results from being written."""
    from fastfc._files import replaced_file

    outputs = {"--out": args.out} if args.plot is None else {"--out": args.out, "--plot": args.plot}
    for option, name in outputs.items():
        path = Path(name)
        with _reported(OSError, ValueError, what=f"{option} {name}"):
            if not path.parent.is_dir():
                raise ValueError(f"there is no folder {path.parent}")
            if path.exists():
                if not path.is_file():
                    raise ValueError("this is not a file")
                if not os.access(path, os.W_OK):
                    raise ValueError("this file is write-protected")
                if os.path.exists(args.data) and path.samefile(args.data):
                    raise ValueError("this would replace the data")
            with contextlib.suppress(_RehearsalError), replaced_file(path):
                raise _RehearsalError
    if args.plot is None:
        return
    if Path(args.plot).suffix.lower() not in PLOT_SUFFIXES:
        raise _CommandError(f"--plot {args.plot}: expected a name that ends in {', '.join(PLOT_SUFFIXES)}")
    if Path(args.plot).resolve() == Path(args.out).resolve():
        raise _CommandError(f"--plot {args.plot}: this is where --out saves the model")
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise _CommandError('--plot needs matplotlib: pip install "fastfc[plot]"') from error


def _training_data(args: argparse.Namespace) -> dict[str, Any]:
    """Load the data, with a validation part, and make sure that its parts go together."""
    from fastfc.data_utils import load_dataset, split_validation

    with _reported(OSError, ValueError, MemoryError):
        data = load_dataset(args.data, target=args.target)
    if "y_val" not in data:
        with _reported(ValueError, MemoryError, what=f"{args.data}: no examples for validation"):
            parts = split_validation(data["X_train"], data["y_train"], args.val_fraction, args.seed)
        data.update(zip(("X_train", "y_train", "X_val", "y_val"), parts, strict=True))
    if len(data["class_names"]) < 2:
        raise _CommandError(f"{args.data}: all labels are {data['class_names'][0]}; expected two classes or more")
    first = data["X_train"]
    for key in ("X_train", "X_val", "X_test"):
        if key not in data:
            continue
        X = data[key]
        if X.shape[1:] != first.shape[1:] or (X.dtype == "uint8") != (first.dtype == "uint8"):
            raise _CommandError(
                f"{args.data}: X_train has examples of shape {first.shape[1:]}, {first.dtype}, "
                f"{key} of shape {X.shape[1:]}, {X.dtype}"
            )
        _check_values(X, args.dtype, f"{args.data}: {key}")
    return data


def _check_values(X: np.ndarray, dtype: Any, source: str) -> None:
    """One nan or infinity among the features would spread over all parameters."""
    import numpy as np

    limit = float(np.finfo(dtype).max)
    if X.dtype.kind == "f" and not (-limit <= X.min() and X.max() <= limit):
        raise _CommandError(f"{source} has nan, infinite or too large values for {np.dtype(dtype)}")


def _network(args: argparse.Namespace, data: dict[str, Any]) -> FullyConnectedNet:
    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet

    X = data["X_train"]
    model = FullyConnectedNet(
        args.hidden,
        math.prod(X.shape[1:]),
        len(data["class_names"]),
        dropout_keep_ratio=args.keep,
        normalization=None if args.normalization == "none" else args.normalization,
        reg=args.reg,
        weight_scale=1 if args.weight_scale == "he" else args.weight_scale,
        dtype=np.dtype(args.dtype).type,
    )
    if args.weight_scale == "he":
        for i, inputs in enumerate(model.dims[:-1], start=1):
            model.params[f"W{i}"] *= math.sqrt(2 / inputs)
    model.class_names = data["class_names"]
    if args.standardize:
        deviation = X.std(axis=0, dtype=np.float64)
        # A constant feature's deviation can be a rounding error instead of 0.
        varies = (deviation > 0) & (X.min(axis=0) < X.max(axis=0))
        model.input_mean = X.mean(axis=0, dtype=np.float64)
        model.input_scale = 1 / np.where(varies, deviation, 1)
    elif X.dtype == np.uint8:
        model.input_mean = X.mean(axis=0, dtype=np.float64)
        model.input_scale = 1 / 255
    return model


class _Watch:
    """Solver's callback: shows the progress, and keeps the states of the model that can be saved.

    A state is the parameters and, by layer, the running statistics that belong to them.
    """

    def __init__(self, model: FullyConnectedNet, steps: int) -> None:
        self.model = model
        self.steps = steps
        self.report: Callable[[Solver], object] = lambda solver: None
        self.stopping = False
        self.best: _State | None = None
        self.last: _State | None = None
        self._best_params: object = None

    def __call__(self, solver: Solver) -> None:
        if not math.isfinite(solver.loss_history[-1]):
            raise _DivergedError
        if solver.best_params and solver.best_params is not self._best_params:
            self._best_params = solver.best_params
            self.best = self._finite_state(solver.best_params) or self.best
        if len(solver.loss_history) == self.steps:
            self.last = self._finite_state({name: value.copy() for name, value in self.model.params.items()})
            if self.last is None:
                raise _DivergedError
        self.report(solver)
        if self.stopping and self.last is None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def stopped_by_ctrl_c(self) -> Iterator[None]:
        """Let Ctrl-C end the training between two steps, and a second one wherever it is.

        An exception in the middle of a compilation would be lost in LLVM's callbacks.
        """
        usual = signal.getsignal(signal.SIGINT)
        if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            signal.signal(signal.SIGINT, usual)
            self.stopping = True

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)

    def _finite_state(self, params: dict[str, np.ndarray]) -> _State | None:
        import numpy as np

        running = [
            {key: value.copy() for key, value in bn_param.items() if key.startswith("running_")}
            for bn_param in self.model.bn_params
        ]
        arrays = [array for part in (params, *running) for array in part.values()]
        return (params, running) if all(np.isfinite(array).all() for array in arrays) else None


def _restore(model: FullyConnectedNet, state: _State) -> None:
    params, running = state
    model.params = params
    for bn_param, statistics in zip(model.bn_params, running, strict=True):
        bn_param.update(statistics)


def _run(solver: Solver, watch: _Watch, args: argparse.Namespace) -> int:
    try:
        with (
            _progress(args, watch.steps) as watch.report,
            watch.stopped_by_ctrl_c(),
            _reported(MemoryError, what="training"),
        ):
            solver.train()
    except KeyboardInterrupt:
        return INTERRUPTED
    except _DivergedError:
        return DIVERGED
    return 0


@contextlib.contextmanager
def _progress(args: argparse.Namespace, steps: int) -> Iterator[Callable[[Solver], object]]:
    """A bar on a terminal; elsewhere a line an epoch."""
    if args.quiet:
        yield lambda solver: None
        return
    if not sys.stderr.isatty():
        shown = 0

        def print_epoch(solver: Solver) -> None:
            nonlocal shown
            if solver.epoch > shown:
                shown = solver.epoch
                print(f"epoch {shown}/{args.epochs}: {_figures(solver)}", file=sys.stderr, flush=True)

        yield print_epoch
        return

    from tqdm import tqdm

    with tqdm(
        desc="loading kernels, compiling them if new",
        total=steps,
        dynamic_ncols=True,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    ) as bar:

        def move_bar(solver: Solver) -> None:
            bar.set_description_str(f"epoch {min(solver.epoch + 1, args.epochs)}/{args.epochs}", refresh=False)
            bar.set_postfix_str(_figures(solver), refresh=False)
            bar.update(len(solver.loss_history) - bar.n)

        yield move_bar


def _figures(solver: Solver) -> str:
    train, val = solver.train_acc_history[-1], solver.val_acc_history[-1]
    return f"loss {solver.loss_history[-1]:.3g}, train {train:.1%}, val {val:.1%}"


def _explain(code: int, solver: Solver, steps: int, *, saved: bool) -> None:
    step = len(solver.loss_history)
    kept = "the best parameters until then are saved" if saved else "there is nothing to save"
    if code == INTERRUPTED:
        line = f"interrupted after {step} of {steps} steps; {kept}"
    else:
        bad = [i for i, loss in enumerate(solver.loss_history) if not math.isfinite(loss)]
        what = f"the loss is {solver.loss_history[bad[0]]}" if bad else "the parameters are no longer finite"
        at = bad[0] + 1 if bad else step
        line = f"warning: training diverged, {what} at step {at} of {steps}; a smaller --learning-rate may help; {kept}"
    print(f"fastfc: {line}", file=sys.stderr)


def _summary(
    args: argparse.Namespace, model: FullyConnectedNet, data: dict[str, Any], solver: Solver, seconds: float
) -> str:
    from fastfc.backend import get_backend

    def accuracy(split: str) -> str:
        X, y = data[f"X_{split}"], data[f"y_{split}"]
        return f"{split if split == 'test' else 'validation'} accuracy: {_accuracy(model.predict(X), y)}"

    words = {"train": "train", "val": "validation", "test": "test"}
    sizes = [f"{len(data[f'y_{split}'])} {word}" for split, word in words.items() if f"y_{split}" in data]
    inputs, *hidden, classes = model.dims
    net = [f"{inputs}-[{','.join(map(str, hidden))}]-{classes}", args.normalization, f"keep {args.keep:g}", args.dtype]
    lines = [
        f"data: {args.data} ({', '.join(sizes)})",
        f"net: {' '.join(part for part in net if part not in ('none', 'keep 1'))}",
        f"best validation accuracy: {100 * solver.best_val_acc:.1f} %",
        accuracy("val"),
    ]
    if "y_test" in data:
        lines.append(accuracy("test"))
    if math.isfinite(solver.seconds_per_step):
        lines.append(f"time per step: {1000 * solver.seconds_per_step:.3g} ms")
    lines += [
        f"total time: {seconds:.1f} s ({len(solver.loss_history)} steps)",
        f"backend: {get_backend()}",
        f"model: {args.out}",
    ]
    return "\n".join(lines)


def _accuracy(predicted: np.ndarray, y: np.ndarray) -> str:
    return f"{100 * (predicted == y).mean():.1f} % ({len(y)} examples)"


def _plot(solver: Solver, path: str) -> None:
    from fastfc.vis_utils import plot_history

    with _reported(OSError, ValueError, what=f"cannot write {path}"):
        plot_history(solver.loss_history, solver.train_acc_history, solver.val_acc_history, path)
    with _writing_results():
        print(f"plot: {path}")


# ----------------------------------------------------------------------------------- predict and check


def _predict(args: argparse.Namespace) -> int:
    from fastfc.classifiers.fc_net import load_model
    from fastfc.data_utils import load_samples

    with _reported(OSError, ValueError, MemoryError):
        model = load_model(args.model)
    inputs, *_, classes = model.dims
    names = [str(i) for i in range(classes)] if model.class_names is None else model.class_names
    with _reported(OSError, ValueError, MemoryError):
        X, y, _ = load_samples(args.data, split=args.split, target=args.target, num_features=inputs, class_names=names)
    if math.prod(X.shape[1:]) != inputs:
        raise _CommandError(
            f"{args.data} has {math.prod(X.shape[1:])} features an example; {args.model} takes {inputs}"
        )
    _check_values(X, model.dtype, args.data)
    with _reported(MemoryError):
        predicted = model.predict(X)
    with _writing_results():
        print("\n".join(names[i] for i in predicted))
    if y is not None:
        print(f"accuracy: {_accuracy(predicted, y)}", file=sys.stderr)
    return 0


def _check(args: argparse.Namespace) -> int:
    from fastfc.check import run

    with _writing_results():
        return run(args.dtype, sys.stdout)
