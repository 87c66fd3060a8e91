"""The search for the best model that ends the course's assignment, on the pictures that come with the package.

A net with batch normalization, dropout and Adam is trained once per learning rate; the one
with the best validation accuracy is the result.
"""

import argparse
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from fastfc.classifiers.fc_net import FullyConnectedNet
from fastfc.data_utils import embedded_fashion_mnist
from fastfc.solver import Solver

__all__ = ["grid_search", "pictures"]

KEEP = 0.78


def grid_search(
    data: dict[str, Any], hidden_dims: Sequence[int], learning_rates: Iterable[float], reg: float, num_epochs: int
) -> Solver:
    """Train a net per learning rate, print a line for each, and return the Solver of the best.

    Parameters
    ----------
    data : dict
        ``X_train`` (N, ...), ``y_train`` (N,), ``X_val`` (M, ...), ``y_val`` (M,), as for
        :class:`fastfc.Solver`.
    hidden_dims : sequence of int
        Widths of the hidden layers.
    learning_rates : iterable of float
        Adam's, multiplied by 0.95 after each epoch.
    reg : float
        L2 strength.
    num_epochs : int
        Of batches of 100.

    Returns
    -------
    Solver
        Its ``model`` holds the parameters with the best validation accuracy, ``best_val_acc``.

    Raises
    ------
    ValueError
        If there is no learning rate to try.

    Notes
    -----
    CS231n, assignment 2, ``FullyConnectedNets.ipynb``, "Train a good model".

    Examples
    --------
    >>> best = grid_search(pictures(), [32], [1e-3], reg=0.0, num_epochs=1)  # doctest: +SKIP
    learning rate 0.001: validation accuracy 78.8 %, 0.1 s
    """
    best: Solver | None = None
    for rate in learning_rates:
        model = FullyConnectedNet(
            hidden_dims,
            input_dim=data["X_train"][0].size,
            num_classes=int(data["y_train"].max()) + 1,
            normalization="batchnorm",
            dropout_keep_ratio=KEEP,
            reg=reg,
        )
        solver = Solver(
            model,
            data,
            update_rule="adam",
            optim_config={"learning_rate": rate},
            lr_decay=0.95,
            batch_size=100,
            num_epochs=num_epochs,
            verbose=False,
        )
        start = perf_counter()
        solver.train()
        seconds = perf_counter() - start
        print(f"learning rate {rate:g}: validation accuracy {100 * solver.best_val_acc:.1f} %, {seconds:.1f} s")
        if best is None or solver.best_val_acc > best.best_val_acc:
            best = solver
    if best is None:
        raise ValueError("learning_rates: expected at least one, got none")
    return best


def pictures(num_validation: int = 1000) -> dict[str, Any]:
    """The embedded pictures, divided by 255 and less their mean picture, the last of them for validation.

    Parameters
    ----------
    num_validation : int

    Returns
    -------
    dict
        ``X_train`` (N, 28, 28), ``y_train`` (N,), ``X_val`` (M, 28, 28), ``y_val`` (M,), and the test pictures.

    Examples
    --------
    >>> pictures(500)["y_val"].shape
    (500,)
    """
    data = embedded_fashion_mnist()
    X, y = data["X_train"] / 255, data["y_train"]
    split = len(X) - num_validation
    X -= X[:split].mean(axis=0)
    return {"X_train": X[:split], "y_train": y[:split], "X_val": X[split:], "y_val": y[split:]}


def main() -> None:
    parser = argparse.ArgumentParser("python -m fastfc.examples.search", description=(__doc__ or "").split("\n")[0])
    parser.parse_args()
    np.random.seed(0)
    best = grid_search(pictures(), [64, 64, 64], [5e-4, 1e-3, 2e-3, 4e-3], reg=0.0, num_epochs=10)
    print(f"best learning rate: {best.optim_config['learning_rate']:g}")


if __name__ == "__main__":
    main()
