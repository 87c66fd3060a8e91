"""The engine for any model and any rule: the course's own loop, step by step, which looks anew at everything."""

from fastfc.training.engine import Trainer
from fastfc.training.state import stream_state

__all__ = ["GenericRun"]


class GenericRun:
    """Steps and accuracy checks by the Solver's own methods; it keeps nothing, so there is nothing to hand over."""

    fits = True

    def __init__(self, solver: Trainer) -> None:
        self._solver = solver

    def __enter__(self) -> "GenericRun":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def close(self) -> None:
        pass

    def checks_inside(self) -> bool:
        return False

    def steps(self, limit: int, before: int = 0, iterations_per_epoch: int = 0) -> int:
        self._solver._step()
        self._solver._warn_of_divergence(self._solver.loss_history[-1:])
        return 1

    def accuracy(self, split: str, num_samples: int | None) -> float:
        solver = self._solver
        return solver.check_accuracy(getattr(solver, f"X_{split}"), getattr(solver, f"y_{split}"), num_samples)

    def publish(self) -> None:
        pass

    def stream_state(self) -> tuple | None:
        return stream_state()

    def take_stream(self) -> None:
        pass

    def lend(self) -> None:
        pass

    def take_back(self) -> None:
        pass
