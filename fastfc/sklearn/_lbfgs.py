"""The solver "lbfgs": SciPy's L-BFGS over the compiled loss and gradient of all examples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from scipy.optimize import OptimizeResult, minimize
from sklearn.utils.optimize import _check_optimize_result

from fastfc import optim
from fastfc._runtime.blas import single_threaded
from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.sklearn._data import Data, block_rows, row_blocks
from fastfc.sklearn._networks import copied
from fastfc.sklearn._options import threads_of
from fastfc.training.fit import Fit

# Rows whose activations are in memory at a time.
_ROWS = 4096
# SciPy prints by this option before 1.15.
_PRINTS = tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 15)


def train(
    estimator: Any, net: FullyConnectedNet, data: Data, epoch_hooks: Callable[..., Any] | None, loss_scale: float
) -> None:
    """Minimize the loss of all examples from the network's parameters on; in float64, whatever the network's dtype.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    net : FullyConnectedNet
    data : Data
    epoch_hooks : function or None
        As for the training by steps, around what the estimator keeps of an iteration.
    loss_scale : float
    """
    if data.weights is not None and not data.weights.sum() > 0:
        raise ValueError("sample_weight: expected a sum above 0")
    wide = net if net.params.flat.dtype == np.float64 else copied(net, np.float64)
    rows = min(_ROWS, len(data), block_rows(data.X) if data.is_sparse else _ROWS)
    blocks = list(row_blocks(len(data), rows))
    ones = np.ones(len(data)) if data.weights is None else data.weights.astype(np.float64)
    sums = np.array([ones[block].sum() for block in blocks])
    weighed = [(block, share) for block, share in zip(blocks, sums / ones.sum(), strict=True) if share > 0]
    # Each block's loss has the penalty, over the sum of its own weights.
    wide.reg = estimator.alpha / len(weighed)

    def callback(intermediate_result: OptimizeResult) -> None:
        assert epoch_hooks is not None
        with epoch_hooks() as task:
            wide.params.flat[:] = intermediate_result.x
            net.params = wide.params
        if task.stop:
            raise StopIteration

    first = data.rows(weighed[0][0]).dense()
    # SciPy's own short vectors take BLAS longer on several threads than on one.
    with (
        single_threaded(),
        Fit(
            wide,
            first.X,
            first.targets,
            weights=first.weights,
            rule=optim.sgd,
            config={"learning_rate": 0.0},
            batch_size=rows,
            stream=np.random.RandomState(0),
            sampler="order",
            threads=threads_of(estimator),
            reg_of_batch=True,
            loss_scale=loss_scale,
            stores_gradients=True,
        ) as fit,
    ):
        result = minimize(
            _evaluation(fit, wide, data, weighed),
            wide.params.flat.copy(),
            method="L-BFGS-B",
            jac=True,
            options={
                "maxfun": estimator.max_fun,
                "maxiter": estimator.max_iter,
                "gtol": estimator.tol,
                **({"iprint": 1 if estimator.verbose else -1} if _PRINTS else {}),
            },
            callback=callback if epoch_hooks else None,
        )
    estimator.n_iter_ = _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = result.fun
    wide.params.flat[:] = result.x
    if wide is not net:
        net.params = wide.params


def _evaluation(
    fit: Fit, net: FullyConnectedNet, data: Data, weighed: list[tuple[slice, float]]
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The function of the flat parameters that gives the loss and its gradient, both over all blocks of the data.

    The padding between parameters is among them: it stays zero, and so does its gradient.
    """
    flat, offsets = net.params.flat, net.params.offsets
    gradient = np.zeros_like(flat)
    places = [(slice(offsets[name], offsets[name] + g.size), g.reshape(-1)) for name, g in fit.gradients.items()]
    single = len(weighed) == 1

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        flat[:] = x
        loss = 0.0
        gradient[:] = 0
        for block, share in weighed:
            if not single:
                part = data.rows(block).dense()
                fit.set_data(part.X, part.targets, part.weights)
            loss += share * float(fit.epochs(1)[0])
            for place, view in places:
                gradient[place] += share * view
        return loss, gradient.copy()

    return evaluate
