"""Optuna: trials that are ended early where they promise little."""

from typing import Any

from fastfc.callbacks import Callback, Run

__all__ = ["PruningCallback"]


class PruningCallback(Callback):
    """Report a value of each epoch to an Optuna trial, and end the training when Optuna prunes it.

    The training ends by ``optuna.TrialPruned``, as Optuna has it; its threads have ended then, too.

    Parameters
    ----------
    trial : optuna.trial.Trial
    monitor : str
        A name in ``values`` of :class:`fastfc.callbacks.Run`, such as ``"val_acc"`` (the default) or ``"loss"``. The
        study's direction should be that of the value.

    Raises
    ------
    ImportError
        If Optuna is missing.
    TypeError
        If `trial` is not a trial, or `monitor` no name.
    ValueError
        At the end of the first epoch, if there is no such value.

    Notes
    -----
    With ``study.optimize(objective, n_jobs=2)`` two trainings run in threads of one process, and draw from NumPy's
    global random stream by turns, so that their numbers are not the same each time. Processes have their
    own.

    Examples
    --------
    >>> import optuna  # doctest: +SKIP
    >>> def objective(trial):
    ...     rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    ...     solver = Solver(
    ...         FullyConnectedNet([100], 784), data, optim_config={"learning_rate": rate}, verbose=False,
    ...         callback=PruningCallback(trial),
    ...     )
    ...     solver.train()
    ...     return solver.best_val_acc
    >>> study = optuna.create_study(direction="maximize")  # doctest: +SKIP
    >>> study.optimize(objective, n_trials=20)  # doctest: +SKIP
    """

    def __init__(self, trial: Any, monitor: str = "val_acc") -> None:
        try:
            from optuna import TrialPruned
        except ImportError as error:
            raise ImportError('PruningCallback needs Optuna: pip install "fastfc[optuna]"') from error
        if not (hasattr(trial, "report") and hasattr(trial, "should_prune")):
            raise TypeError(f"trial: expected an Optuna trial, got {trial!r:.80}")
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected a name of a value, got {monitor!r:.80}")
        self.trial, self.monitor = trial, monitor
        self._pruned = TrialPruned

    def on_epoch_end(self, run: Run) -> None:
        if self.monitor not in run.values:
            raise ValueError(f"monitor: expected one of {', '.join(run.values)}, got {self.monitor!r}")
        value = run.values[self.monitor]
        self.trial.report(value, run.epoch)
        if self.trial.should_prune():
            raise self._pruned(f"pruned after epoch {run.epoch} with {self.monitor} {value:g}")
