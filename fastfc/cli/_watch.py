"""Around a training: its progress on stderr, Ctrl-C, and the states that can be saved."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from fastfc.classifiers.fc_net import FullyConnectedNet
    from fastfc.cli._curves import Histories
    from fastfc.solver import Solver

    State = tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]


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
def progress(epochs: int, steps: int, quiet: bool, every: int = 1) -> Iterator[Callable[[Histories], object]]:
    """A bar under curves on a terminal; elsewhere a line every so many epochs, and for the last one."""
    if quiet:
        yield lambda solver: None
        return
    if not sys.stderr.isatty():
        shown = 0

        def print_epoch(solver: Histories) -> None:
            nonlocal shown
            if solver.epoch > shown and (solver.epoch % every == 0 or solver.epoch == epochs):
                shown = solver.epoch
                print(f"epoch {shown}/{epochs}: {figures(solver)}", file=sys.stderr, flush=True)

        yield print_epoch
        return

    from tqdm import tqdm

    from fastfc.cli._curves import columns_of, curves, levels_of

    # The bar is the lower line: closed last, it stays there.
    with (
        tqdm(
            desc="loading kernels, compiling them if new",
            total=steps,
            dynamic_ncols=True,
            position=1,
            leave=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
        ) as bar,
        tqdm(dynamic_ncols=True, position=0, leave=True, bar_format="{desc}") as line,
    ):
        levels = levels_of(sys.stderr)

        def move_bar(solver: Histories) -> None:
            line.set_description_str(curves(solver, columns_of(sys.stderr), levels))
            bar.set_description_str(f"epoch {min(solver.epoch + 1, epochs)}/{epochs}", refresh=False)
            bar.set_postfix_str(figures(solver), refresh=False)
            bar.update(len(solver.loss_history) - bar.n)

        yield move_bar


def figures(solver: Histories) -> str:
    train, val = solver.train_acc_history[-1], solver.val_acc_history[-1]
    if solver.model.class_names is None:
        return f"loss {solver.loss_history[-1]:.3g}, train R2 {train:.3f}, val R2 {val:.3f}"
    return f"loss {solver.loss_history[-1]:.3g}, train {train:.1%}, val {val:.1%}"
