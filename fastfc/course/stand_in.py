"""fastfc's training loop in place of a person's own: on their Solver's lists, dictionaries and counters."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastfc._arguments import labels
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.optim import checked_config
from fastfc.solver import Solver

__all__ = ["StandIn", "preserved_stream", "twin_of"]

_DATA = ("X_train", "y_train", "X_val", "y_val")
_OPTIONS = (
    "optim_config",
    "lr_decay",
    "batch_size",
    "num_epochs",
    "num_train_samples",
    "num_val_samples",
    "print_every",
    "verbose",
)


@contextlib.contextmanager
def preserved_stream() -> Iterator[None]:
    """Leave NumPy's global random stream as it was before the code inside."""
    state = np.random.get_state(legacy=False)
    try:
        yield
    finally:
        np.random.set_state(state)


def twin_of(model: Any) -> FullyConnectedNet:
    """A fastfc network with the parameters of a course network.

    The dictionaries of normalization and dropout are shared, the parameters copied.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError
        If the model does not have the course's attributes, parameters and options.
    """
    params = model.params
    depth = sum(name.startswith("W") for name in params)
    dims = [params["W1"].shape[0], *(params[f"W{i}"].shape[1] for i in range(1, depth + 1))]
    # Until 2017 there was batch normalization or nothing.
    default = "batchnorm" if getattr(model, "use_batchnorm", False) else None
    dropout_param = getattr(model, "dropout_param", {})
    use_dropout = getattr(model, "use_dropout", False)
    with preserved_stream():
        net = FullyConnectedNet(
            dims[1:-1],
            dims[0],
            dims[-1],
            dropout_keep_ratio=dropout_param["p"] if use_dropout else 1,
            normalization=getattr(model, "normalization", default),
            reg=model.reg,
            weight_scale=0,
            dtype=getattr(model, "dtype", params["W1"].dtype),
            seed=dropout_param.get("seed") if use_dropout else None,
        )
    if set(params) != set(net.params):
        raise ValueError(f"expected the parameters {', '.join(net.params)}, got {', '.join(params)}")
    net.params = params
    if use_dropout:
        net.dropout_param = dropout_param
    if net.normalization is not None:
        if len(model.bn_params) != depth - 1:
            raise ValueError(f"expected {depth - 1} entries in bn_params, got {len(model.bn_params)}")
        net.bn_params = model.bn_params
    return net


class StandIn(Solver):
    """A Solver that trains for another one, `own`, which has the course's attributes.

    After :meth:`run` the other is as after its own ``train()``: histories, counters, best
    parameters, the rule's state, the model's parameters and dictionaries. Checkpoints are
    its own too, of its own model.

    Parameters
    ----------
    own : object
        The other Solver.
    rule : str
        The name of its update rule.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError
        If `own` does not follow the course's; nothing has then changed.
    """

    def __init__(self, own: Any, rule: str) -> None:
        options = {name: getattr(own, name) for name in _OPTIONS if hasattr(own, name)}
        data = {name: getattr(own, name) for name in _DATA}
        super().__init__(twin_of(own.model), data, update_rule=rule, **options)
        self._own = own
        self.epoch, self.best_val_acc = own.epoch, own.best_val_acc
        self.loss_history, self.optim_configs = own.loss_history, own.optim_configs
        self.train_acc_history, self.val_acc_history = own.train_acc_history, own.val_acc_history
        labels(self.y_train, len(self.X_train), self.model.dims[-1])
        for name, w in self.model.params.items():
            checked_config(rule, self.optim_configs[name], w)

    def run(self) -> None:
        """Train, and leave the other Solver as its own training would have."""
        try:
            self.train()
        finally:
            self._write_back()
        self._own.model.params = self._own.best_params

    def _write_back(self) -> None:
        own = self._own
        own.epoch, own.best_val_acc = self.epoch, self.best_val_acc
        params = own.model.params
        if self.best_params:
            own.best_params = {name: self.best_params[name] for name in params}
        # After an earlier training this very dictionary is the best parameters: the course's loop goes on in it.
        for name in params:
            params[name] = self.model.params[name].copy()

    def _save_checkpoint(self) -> None:
        if getattr(self._own, "checkpoint_name", None) is not None:
            self._write_back()
            self.model._set_mode("test")
            self._own._save_checkpoint()
