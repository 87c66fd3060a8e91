"""The same search on CIFAR-10, with which the course's assignment asks for more than 50 %.

Needs the folder cifar-10-batches-py; see :func:`fastfc.data_utils.get_CIFAR10_data` for where.
"""

import argparse
from typing import Any

import numpy as np

from fastfc.data_utils import get_CIFAR10_data
from fastfc.examples.search import grid_search
from fastfc.solver import Solver

__all__ = ["search"]


def search(data: dict[str, Any]) -> Solver:
    """Train two nets, 3072-[64, 64, 64]-10, for 20 epochs each.

    Parameters
    ----------
    data : dict
        ``X_train`` (N, 3, 32, 32), ``y_train`` (N,), ``X_val`` (M, 3, 32, 32), ``y_val`` (M,).

    Returns
    -------
    Solver
        That of the better net.

    Examples
    --------
    >>> best = search(get_CIFAR10_data())  # doctest: +SKIP
    """
    return grid_search(data, [64, 64, 64], [5e-4, 8e-4], reg=0.01, num_epochs=20)


def main() -> None:
    text = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser("python -m fastfc.examples.cifar10_search", description=text)
    parser.parse_args()
    try:
        data = get_CIFAR10_data()
    except FileNotFoundError as error:
        parser.error(str(error))
    np.random.seed(0)
    model = search(data).model
    print(f"test accuracy {100 * np.mean(model.predict(data['X_test']) == data['y_test']):.1f} %")


if __name__ == "__main__":
    main()
