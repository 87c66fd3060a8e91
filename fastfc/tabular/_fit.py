"""Training on a frame in one call."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from fastfc._arguments import number
from fastfc._defaults import EARLY_STOPPING_ROWS, Schedule, patience, schedule
from fastfc._ranges import require_count
from fastfc._runtime.threads import available_cpus, checked_count, get_num_threads
from fastfc._standardization import mean_and_scale
from fastfc.backend import get_backend, use_backend
from fastfc.callbacks import Callback, Run
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.formats.table_options import TableOptions
from fastfc.solver import Solver
from fastfc.tabular import _preset as preset_recipe
from fastfc.tabular._encode import feature_places, refuse_too_large
from fastfc.tabular._members import member_seeds
from fastfc.tabular._model import TableModel
from fastfc.tabular._pandas import pandas, require_frame
from fastfc.tabular._prepare import Prepared, SplitOptions, prepare
from fastfc.tabular._read import check_names, frame_to_train, read_to_train
from fastfc.tabular._report import Report, require_report_path, write_report
from fastfc.tabular._scaling import TargetScale

__all__ = ["by_preset", "fit_table"]

Trained = tuple[FullyConnectedNet, preset_recipe.History]
T = TypeVar("T")


class _Default:
    """A default that is told apart from the same value given by the caller; signatures show the value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


def _default(value: T) -> T:
    return cast(T, _Default(value))


class _Best(Callback):
    """Keeps the network of the best epoch by validation, running statistics too; ends after epochs without progress.

    With None for `waits` it keeps that of the last epoch.
    """

    def __init__(self, waits: int | None) -> None:
        self._waits, self._best, self._epoch = waits, -np.inf, 0
        self._params: dict[str, np.ndarray] = {}
        self._statistics: list[dict[str, np.ndarray]] = []

    def on_epoch_end(self, run: Run) -> bool:
        value = run.values["val_acc"]
        # Without early stopping there are too few rows to choose by.
        if self._waits is None or value > self._best:
            self._best, self._epoch = value, run.epoch
        # Of epochs that are as good, the last one: it has learnt for longer.
        if value == self._best:
            self._params = {name: np.array(array) for name, array in run.model.params.items()}
            self._statistics = [
                {key: np.array(param[key]) for key in param if key.startswith("running_")}
                for param in run.model.bn_params
            ]
        return self._waits is not None and run.epoch - self._epoch >= self._waits

    def on_train_end(self, run: Run) -> None:
        if self._params:
            run.model.params = self._params
            for param, statistics in zip(run.model.bn_params, self._statistics, strict=True):
                param.update(statistics)


def fit_table(
    frame_or_path: Any,
    target: str | int | None = None,
    *,
    task: str | None = None,
    groups: str | None = None,
    time: str | None = None,
    class_weight: str | Mapping[Any, float] | None = None,
    drop: Sequence[str | int] = (),
    val_fraction: float | None = None,
    hidden_dims: Sequence[int] = _default((256, 128)),
    normalization: str | None = _default("batchnorm"),
    dropout_keep_ratio: float = _default(0.6),
    activation: str = _default("relu"),
    update_rule: str = _default("adam"),
    learning_rate: float | None = None,
    batch_size: int | None = None,
    num_epochs: int | None = None,
    early_stopping: bool | None = None,
    preset: str | None = None,
    n_members: int = 1,
    dtype: Any = np.float32,
    seed: int = 0,
    threads: int | None = None,
    report: str | os.PathLike[str] | None = None,
) -> TableModel:
    """Train a network on a table of numbers, categories, booleans and dates, with values missing.

    Categories become a feature each, up to 50 a column, and the rare ones share one; dates become year, month, day and
    weekday; the median stands in for missing values, and a feature tells where. Features are standardized. Medians,
    categories and means are those of the rows to train on.

    Parameters
    ----------
    frame_or_path : pandas.DataFrame or path
        A frame, a text table (``.csv``, ``.tsv``, ``.txt``, also ``.gz``) or a Parquet file.
    target : str or int, optional
        The column to predict, by name or number; by default label, target, class or y, or the last one. A number that
        a column of the frame has for a name is its name, and else a place.
    task : {"classification", "regression"}, optional
        By default words, booleans and few whole numbers are classes, and other numbers are predicted as numbers.
    groups : str, optional
        A column whose values are never both in training and in validation; it is no feature.
    time : str, optional
        A column of dates or numbers: the latest rows are the validation part.
    class_weight : "balanced" or dict, optional
        Weights of the classes, by name; ``"balanced"`` weighs them all alike. They are weights of the rows in the loss.
    drop : sequence of str or int
        Columns to leave out, by names or numbers as `target`.
    val_fraction : float, optional
        Share of the rows for validation; by default 200 rows, clamped to 5..20 %; with a preset 20 %.
    hidden_dims, normalization, dropout_keep_ratio, activation, dtype
        The network: see :class:`fastfc.FullyConnectedNet`.
    update_rule, learning_rate, threads
        The training: see :class:`fastfc.Solver`.
    batch_size, num_epochs : int, optional
        By default a tenth of the rows, clamped to 16..100; and 20 epochs, or as many as make 500 steps.
    early_stopping : bool, optional
        Whether the epoch with the best validation score counts, and the training ends some epochs after it; by default
        if there are 200 rows for validation, as fewer tell too little.
    preset : {None, "tabular"}
        ``"tabular"`` is the recipe of RealMLP-TD-S (see Notes), with a network and a training of its own; of their
        options it takes `batch_size`, `num_epochs`, `dtype` and `threads`. It takes about ten times as long, in one
        thread, and is often better.
    n_members : int
        Networks that are trained on the same rows with random numbers of their own, and whose probabilities or numbers
        are averaged: with a preset in `threads` threads side by side, one thread each, else one after the other.
    seed : int
        Of all random numbers. NumPy's global random stream is left as it was.
    report : path, optional
        Where to write a page in HTML about data, training and errors, a name that ends in .html or .htm; needs
        matplotlib.

    Returns
    -------
    TableModel

    Raises
    ------
    ImportError
        If pandas, or for Parquet pyarrow, is missing; the message names the extra.
    TypeError
        If `frame_or_path` is neither a frame nor a path, `report` is no path, or another option is of a wrong type.
    ValueError
        For options or data that do not fit, and for an option beside a preset that has its own.

    Notes
    -----
    The preset follows Holzmüller, Grinsztajn and Steinwart, *Better by Default: Strong Pre-Tuned MLPs and Boosted Trees
    on Tabular Data* (NeurIPS 2024), and the code of its authors: robust scaling with smooth clipping, a scaling layer,
    three layers of 256 with SELU or, for numbers, Mish, the neural tangent parametrization, label smoothing 0.1, Adam
    (0.9, 0.95) with a schedule of four waves and learning rates of their own for scales, weights and biases, 256 epochs
    in batches of 256, and the epoch with the best validation score. Deviations: the features before the scaling are
    those of this function (see above), so that missing values have the median and a feature that tells where, and a
    category of two words has two features. The network that is returned has scaling layer and parametrization
    multiplied into its weights.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from fastfc.tabular import fit_table
    >>> age = np.arange(400) % 80
    >>> frame = pd.DataFrame({"age": age, "city": ["Oslo", "Rome"] * 200, "member": np.where(age < 30, "yes", "no")})
    >>> model = fit_table(frame, "member")
    >>> model.predict(pd.DataFrame({"city": ["Rome", "Paris"], "age": [10, 60]}))  # doctest: +SKIP
    array(['yes', 'no'], dtype='<U3')
    """
    if preset not in (None, "tabular"):
        raise ValueError(f"preset: expected None or 'tabular', got {preset!r:.80}")
    require_count("n_members", n_members, 1)
    require_count("seed", seed, 0)
    network = {"hidden_dims": hidden_dims, "dropout_keep_ratio": dropout_keep_ratio}
    network |= {"normalization": normalization, "activation": activation}
    training: dict[str, Any] = {"update_rule": update_rule}
    if preset is not None:
        _refuse(preset, network | training, {"learning_rate": learning_rate, "early_stopping": early_stopping})
    _check_training(batch_size, num_epochs, val_fraction, learning_rate, early_stopping)
    check_names(target, drop, groups=groups, time=time)
    if report is not None:
        require_report_path("report", report)
    share = preset_recipe.VAL_FRACTION if preset and val_fraction is None else val_fraction
    options = TableOptions(target=target, drop=drop, task=task or "auto")
    prepared = _prepared(frame_or_path, options, SplitOptions(groups, time, share, seed), class_weight)
    data = prepared.data
    plan, waits = _plan(data, preset, batch_size, num_epochs, early_stopping)
    seeds = member_seeds(seed, n_members)
    if preset is None:
        network, training = _values(network) | {"dtype": dtype}, _values(training)
        training |= {"threads": threads, "lr_decay": plan.lr_decay}
        training["optim_config"] = {} if learning_rate is None else {"learning_rate": learning_rate}
        training |= {"batch_size": plan.batch_size, "num_epochs": plan.epochs}
        found = [_trained(prepared, network, training | {"callback": _Best(waits)}, each) for each in seeds]
    else:
        found = by_preset(prepared, plan, dtype, seeds, threads)
    model = TableModel(found[0][0], prepared.description, [net for net, _ in found])
    model.notes, model.history = data["notes"], found[0][1]
    if report is not None:
        write_report(_report_of(model, data, plan), report)
    return model


def _refuse(preset: str, with_defaults: dict[str, Any], with_none: dict[str, Any]) -> None:
    """Raise ValueError for an option that was given and that a preset has its own of."""
    given = [name for name, value in with_defaults.items() if not isinstance(value, _Default)]
    given += [name for name, value in with_none.items() if value is not None]
    if given:
        raise ValueError(f"{given[0]}: preset={preset!r} has its own")


def _values(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, _Default) else value for name, value in options.items()}


def _check_training(
    batch_size: int | None,
    num_epochs: int | None,
    val_fraction: float | None,
    learning_rate: float | None,
    early_stopping: bool | None,
) -> None:
    """An error that names the argument for a value that cannot be; None is for the default."""
    if early_stopping is not None and not isinstance(early_stopping, bool | np.bool_):
        raise TypeError(f"early_stopping: expected True, False or None, got {early_stopping!r:.80}")
    for name, count in {"batch_size": batch_size, "num_epochs": num_epochs}.items():
        if count is not None:
            require_count(name, count, 1)
    if val_fraction is not None and not 0 < number("val_fraction", val_fraction) < 1:
        raise ValueError(f"val_fraction: expected a number between 0 and 1, got {val_fraction}")
    if learning_rate is not None and not 0 < number("learning_rate", learning_rate) < np.inf:
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")


def _plan(
    data: dict[str, Any], preset: str | None, batch_size: int | None, epochs: int | None, early_stopping: bool | None
) -> tuple[Schedule, int | None]:
    """Batch size and epochs, and how many epochs to wait for a better one; None for no early stopping."""
    rows = len(data["X_train"])
    if preset is not None:
        plan = preset_recipe.plan_of(rows, batch_size, epochs)
        return plan, plan.epochs
    plan = schedule(rows, batch_size, epochs, None)
    if early_stopping is None:
        early_stopping = len(data["X_val"]) >= EARLY_STOPPING_ROWS
    return plan, patience(plan.epochs) if early_stopping else None


def _prepared(
    frame_or_path: Any, options: TableOptions, split: SplitOptions, class_weight: str | Mapping[Any, float] | None
) -> Prepared:
    frame, name, notes = _frame_of(frame_or_path, options)
    prepared = prepare(frame, name, task=options.task or "auto", split=split, class_weight=class_weight)
    prepared.data["notes"] = [*notes, *prepared.data["notes"]]
    return prepared


def _history(solver: Solver) -> dict[str, list[float]]:
    histories: dict[str, Any] = {
        "loss": solver.loss_history,
        "train": solver.train_acc_history,
        "val": solver.val_acc_history,
    }
    return {name: list(map(float, values)) for name, values in histories.items()}


def _trained(prepared: Prepared, network: dict[str, Any], training: dict[str, Any], seed: int) -> Trained:
    """A network that a Solver has trained on a data set, and the histories."""
    data = prepared.data
    with _seeded(seed):
        net = _network(data, network)
        for split in ("X_train", "X_val"):
            refuse_too_large(data[split], net.dtype, prepared.description["columns"])
        net.input_mean, net.input_scale = mean_and_scale(data["X_train"], net.dtype, data["feature_names"])
        scale = TargetScale.of(data)
        solver = Solver(net, scale.standardized(data), verbose=False, **training)
        solver.train()
    scale.fold_into(net)
    return net, _history(solver)


def by_preset(
    prepared: Prepared,
    plan: Schedule,
    dtype: Any,
    seeds: Sequence[int],
    threads: int | None = None,
    halt: threading.Event | None = None,
    on_epoch: Callable[[int, preset_recipe.History], object] | None = None,
) -> list[Trained]:
    """Networks by the preset's recipe; the scaling of the features goes into the table's description.

    `halt` and `on_epoch` are those of :func:`fastfc.tabular._preset.train`, which runs in a thread for each network;
    `on_epoch` has the network's number, from 0, before the history.
    """
    data, of_classes = prepared.data, "class_names" in prepared.data
    clip = prepared.description["smooth_clip"] = preset_recipe.smooth_clip_of(data["X_train"])
    for key in ("X_train", "X_val"):
        data[key] = preset_recipe.smooth_clipped(data[key], clip)
    with _seeded(seeds[0]):
        # The preset draws the weights anew, from streams of its own.
        nets = [_network(data, preset_recipe.network_options(of_classes=of_classes) | {"dtype": dtype}) for _ in seeds]
    scale = TargetScale.of(data)
    standardized, halt = scale.standardized(data), halt or threading.Event()
    workers = checked_count("threads", threads) if threads is not None else get_num_threads() or available_cpus()
    # A thread has a backend of its own.
    with ThreadPoolExecutor(min(workers, len(seeds)), "", use_backend, (get_backend(),)) as pool:
        fits = [
            pool.submit(preset_recipe.train, net, standardized, plan, each, halt, on_epoch and partial(on_epoch, i))
            for i, (net, each) in enumerate(zip(nets, seeds, strict=True))
        ]
        try:
            histories = [each.result() for each in fits]
        except BaseException:
            # Also Ctrl-C, which comes in the main thread alone.
            halt.set()
            for each in fits:
                each.cancel()
            raise
    for net in nets:
        scale.fold_into(net)
    return list(zip(nets, histories, strict=True))


def _network(data: dict[str, Any], options: dict[str, Any]) -> FullyConnectedNet:
    class_names = data.get("class_names")
    net = FullyConnectedNet(
        input_dim=data["X_train"].shape[1],
        num_classes=1 if class_names is None else len(class_names),
        loss="squared" if class_names is None else "softmax",
        **options,
    )
    net.class_names, net.feature_names, net.target_name = class_names, data["feature_names"], data["target_name"]
    return net


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Within it, NumPy's global random stream begins at a seed; after it, it is as it was."""
    before = np.random.get_state()
    try:
        np.random.seed(seed)
        yield
    finally:
        np.random.set_state(before)


def _report_of(model: TableModel, data: dict[str, Any], plan: Schedule) -> Report:
    net, history, count = model.net, model.history, len(model.members)
    chosen = {
        "rows to train on": str(len(data["y_train"])),
        "rows for validation": str(len(data["y_val"])),
        "network": f"{net.dims[0]}-{net.dims[1:-1]}-{net.dims[-1]}{f', {count} members' if count > 1 else ''}",
        "loss": net.loss_name,
        "batch size": str(plan.batch_size),
        "epochs": f"{len(history['val']) - 1} of {plan.epochs}",
        "steps": str(len(history["loss"])),
    }
    if count > 1:
        chosen["learning curves"] = f"of the first of {count} members"
    title = f"Training to predict {model.target}"
    places = feature_places(model.columns)
    curves = history["loss"], history["train"], history["val"]
    return Report(title, model.predictor, data["X_val"], data["y_val"], places, *curves, model.notes, chosen)


def _frame_of(frame_or_path: Any, options: TableOptions) -> tuple[Any, str, list[str]]:
    """The frame, the name of its target, and what there is to say about its file."""
    # An error that names the extra comes before one about the file.
    pandas()
    if isinstance(frame_or_path, str | os.PathLike):
        return read_to_train(Path(frame_or_path), options)
    require_frame(frame_or_path)
    return *frame_to_train(frame_or_path, options), []
