"""Parameters of a network: one flat buffer, and named views on it."""

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastfc._arguments import as_array

__all__ = ["FlatParameters"]

# A cache line: every view starts on one, so that no two arrays share a line and vector loads are aligned.
_ALIGNMENT = 64


class FlatParameters(dict[str, np.ndarray]):
    """A dictionary of arrays that are views on one flat buffer.

    It reads like the course's ``model.params``. Assigning to a name copies into its view,
    so that the buffer and its layout stay; other names than those it was made with are kept
    like in any dictionary, outside the buffer.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        The names, in the buffer's order, and their shapes.
    dtype : float dtype
    name : str
        Of the dictionary, in errors.

    Attributes
    ----------
    flat : array (n,)
        The buffer, zeros at first. Each view starts at a multiple of 64 bytes; what lies
        between two views is padding and stays zero.
    offsets : dict of str to int
        Where each name's view starts in `flat`, in elements.

    Examples
    --------
    >>> params = FlatParameters({"W1": (2, 3), "b1": (3,)}, np.float32)
    >>> params["b1"] = [1, 2, 3]
    >>> params.flat[params.offsets["b1"]]
    np.float32(1.0)
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: DTypeLike, name: str = "params") -> None:
        super().__init__()
        self._name = name
        self.dtype = np.dtype(dtype)
        step = _ALIGNMENT // self.dtype.itemsize
        self.offsets: dict[str, int] = {}
        end = 0
        for name, shape in shapes.items():
            self.offsets[name] = end
            end += -(-prod(shape) // step) * step
        self.flat = aligned_zeros(end, self.dtype)
        self._views = {
            name: self.flat[self.offsets[name] : self.offsets[name] + prod(shape)].reshape(shape)
            for name, shape in shapes.items()
        }
        dict.update(self, self._views)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes that the buffer holds."""
        return {name: view.shape for name, view in self._views.items()}

    def __setitem__(self, name: str, value: Any) -> None:
        view = self._views.get(name)
        if view is None:
            super().__setitem__(name, value)
            return
        if value is not view:
            np.copyto(view, self._checked(name, value), casting="unsafe")
        super().__setitem__(name, view)

    def replace(self, values: Mapping[str, Any]) -> None:
        """Copy a whole set of parameters in; every shape is checked before any value changes.

        Parameters
        ----------
        values : mapping of str to array
            Of each parameter, in its shape; other names are kept as they are.

        Raises
        ------
        ValueError
            If a name is missing, or a shape is another.
        TypeError
            If `values` is no dictionary, or a value does not hold real numbers.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"{self._name}: expected a dictionary of arrays, got {type(values).__name__}")
        missing = [name for name in self._views if name not in values]
        if missing:
            raise ValueError(f"{self._name}: expected {', '.join(self._views)}; missing {', '.join(missing)}")
        checked = {name: self._checked(name, value) for name, value in values.items() if name in self._views}
        for name, array in checked.items():
            # Views on this very buffer would change while it is written.
            if np.may_share_memory(array, self.flat):
                checked[name] = array.copy()
        extra = {name: value for name, value in values.items() if name not in self._views}
        super().clear()
        for name, array in checked.items():
            self[name] = array
        super().update(extra)

    def _checked(self, name: str, value: Any) -> np.ndarray:
        array = as_array(f"{self._name}[{name!r}]", value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{self._name}[{name!r}]: expected real numbers, got dtype {array.dtype}")
        if array.shape != self._views[name].shape:
            raise ValueError(f"{self._name}[{name!r}]: expected shape {self._views[name].shape}, got {array.shape}")
        return array

    def update(self, *args: Any, **kwargs: Any) -> None:
        values = dict(*args, **kwargs)
        for name, value in values.items():
            if name in self._views:
                self._checked(name, value)
        for name, value in values.items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> "FlatParameters":  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: np.array(value) if name in self._views else value for name, value in self.items()}
        # Those of a network are pickled without a name, as ever: checkpoints have three values.
        return _rebuild, (self.shapes, self.dtype, values, *([] if self._name == "params" else [self._name]))


def _rebuild(
    shapes: Mapping[str, tuple[int, ...]], dtype: DTypeLike, values: Mapping[str, Any], name: str = "params"
) -> FlatParameters:
    params = FlatParameters(shapes, dtype, name)
    params.clear()
    params.update(values)
    return params


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros (size,) that start on a cache line."""
    return _aligned(np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8), size, dtype)


def aligned_empty(size: int, dtype: np.dtype) -> np.ndarray:
    """The same with any values."""
    return _aligned(np.empty(size * dtype.itemsize + _ALIGNMENT, np.uint8), size, dtype)


def _aligned(memory: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    start = -memory.__array_interface__["data"][0] % _ALIGNMENT
    return memory[start : start + size * dtype.itemsize].view(dtype)
