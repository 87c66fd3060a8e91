"""Around a training: its progress on stderr, Ctrl-C, and the states that can be saved."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.cli._curves import Histories
    from fastfc.solver import Solver

    State = tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]


# On a terminal, curves are drawn anew after this many seconds at the earliest.
_REDRAWN_SECONDS = 0.05


class DivergedError(Exception):
    """The loss or a parameter is not finite: no further step can help."""


class Watch:
    """Solver's callback: shows the progress, and keeps the states of the model that can be saved.

    A state is the parameters and, by layer, the running statistics that belong to them.
    """

    def __init__(self, model: FullyConnectedNet, steps: int) -> None:
        self.model = model
        self.steps = steps
        self.report: Callable[[Solver], object] = lambda solver: None
        self.stopping = False
        self.best: State | None = None
        self.last: State | None = None
        self._best_params: object = None

    def __call__(self, solver: Solver) -> None:
        if not math.isfinite(solver.loss_history[-1]):
            raise DivergedError
        if solver.best_params and solver.best_params is not self._best_params:
            self._best_params = solver.best_params
            self.best = self._finite_state(solver.best_params) or self.best
        if len(solver.loss_history) == self.steps:
            self.last = self._finite_state({name: value.copy() for name, value in self.model.params.items()})
            if self.last is None:
                raise DivergedError
        self.report(solver)
        if self.stopping and self.last is None:
            raise KeyboardInterrupt

    def stopped_by_ctrl_c(self) -> contextlib.AbstractContextManager[None]:
        """Let Ctrl-C end the training between two steps, and a second one wherever it is.

        An exception in the middle of a compilation would be lost in LLVM's callbacks.
        """
        return ctrl_c_calls(lambda: setattr(self, "stopping", True))

    def _finite_state(self, params: dict[str, np.ndarray]) -> State | None:
        import numpy as np

        running = [
            {key: value.copy() for key, value in bn_param.items() if key.startswith("running_")}
            for bn_param in self.model.bn_params
        ]
        arrays = [array for part in (params, *running) for array in part.values()]
        return (params, running) if all(np.isfinite(array).all() for array in arrays) else None


@contextlib.contextmanager
def ctrl_c_calls(stop: Callable[[], object]) -> Iterator[None]:
    """Let Ctrl-C call a function, and a second one interrupt as usual."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, usual)
        stop()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@contextlib.contextmanager
def progress(epochs: int, steps: int, quiet: bool, every: int = 1, members: int = 1) -> Iterator[Callable[..., object]]:
    """A function ``show(histories, number=1)``, which shows how far a training is, or each of several by its number.

    On a terminal it moves one bar for all of them, under the curves of the first one that goes on. Elsewhere it prints
    a line every so many epochs, and for the last one.
    """
    if quiet:
        yield lambda solver, number=1: None
        return
    if not sys.stderr.isatty():
        shown = [0] * (members + 1)

        def print_epoch(solver: Histories, number: int = 1) -> None:
            if solver.epoch > shown[number] and (solver.epoch % every == 0 or solver.epoch == epochs):
                shown[number] = solver.epoch
                told = f"{_named(number, members)}epoch {solver.epoch}/{epochs}: {figures(solver)}"
                print(told, file=sys.stderr, flush=True)

        yield print_epoch
        return

    from tqdm import tqdm

    from fastfc.cli._curves import columns_of, curves, levels_of

    # The bar is the lower line: closed last, it stays there.
    with (
        tqdm(
            desc="loading kernels, compiling them if new",
            total=members * steps,
            dynamic_ncols=True,
            position=1,
            leave=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        ) as bar,
        tqdm(dynamic_ncols=True, position=0, leave=True, bar_format="{desc}") as line,
    ):
        levels, taken, drawn = levels_of(sys.stderr), [0] * (members + 1), -math.inf

        def move_bar(solver: Histories, number: int = 1) -> None:
            nonlocal drawn
            taken[number] = len(solver.loss_history)
            now, ends = perf_counter(), sum(taken) == bar.total
            # Epochs may be shorter than it takes to draw them.
            if ends or (now - drawn >= _REDRAWN_SECONDS and min(taken[1:number], default=steps) == steps):
                drawn = now
                line.set_description_str(curves(solver, columns_of(sys.stderr), levels))
                epoch = min(solver.epoch + 1, epochs)
                bar.set_description_str(f"{_named(number, members)}epoch {epoch}/{epochs}", refresh=False)
                bar.set_postfix_str(figures(solver), refresh=False)
            bar.update(sum(taken) - bar.n)

        yield move_bar


def _named(number: int, members: int) -> str:
    """Which of several trainings it is, for the beginning of a line."""
    return f"member {number} of {members}, " if members > 1 else ""


def figures(solver: Histories) -> str:
    train, val = solver.train_acc_history[-1], solver.val_acc_history[-1]
    if solver.model.class_names is None:
        return f"loss {solver.loss_history[-1]:.3g}, train R2 {train:.3f}, val R2 {val:.3f}"
    return f"loss {solver.loss_history[-1]:.3g}, train {train:.1%}, val {val:.1%}"
