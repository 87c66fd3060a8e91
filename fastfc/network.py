"""A network for somebody else's loop: forward, backward and update one by one, at the speed of the compiled run."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastfc import _display
from fastfc._arguments import as_array
from fastfc._network_calls import Predictor, move_towards
from fastfc._network_reference import backward_by_reference, forward_by_reference
from fastfc._network_start import Initializer, Seed, checked_widths, draw_weights, generator, new_words
from fastfc._ranges import require_range
from fastfc.backend import get_backend
from fastfc.classifiers.fc_net import FullyConnectedNet, load_model
from fastfc.course.years import legacy_of
from fastfc.formats.model import packed, unpacked
from fastfc.params import FlatParameters, aligned_zeros
from fastfc.training.calls import FEW_ROWS, Calls, Pass
from fastfc.training.memory import STREAM

__all__ = ["Network"]


class Network:
    """A fully connected network, ``{affine - [norm] - activation - [dropout]} x (L - 1) - affine``, pass by pass.

    The loss is the caller's: :meth:`forward` gives scores, and :meth:`backward` takes any gradient of them. The passes
    are those of the compiled run, in the calling thread alone, on memory that is allocated once for the largest batch.

    Parameters
    ----------
    dims : sequence of int
        Features, widths of the hidden layers, outputs.
    activation : str
        One of :data:`fastfc.activations.NAMES`.
    normalization : {None, "batchnorm", "layernorm"}
    dropout_keep_ratio : float
        The probability to keep a hidden value in training, 0 < p <= 1.
    dtype : float32 or float64
    seed : int, RandomState, Generator or None
        The initial weights are drawn from it, then a seed for the network's own stream, from which dropout is drawn.
        NumPy's global stream is never touched. None is a seed from the system.
    initializer : str, function, or a sequence of them, one per layer; optional
        Keys of :data:`fastfc.initializers.INITIALIZERS`, or functions of a shape (fan_in, fan_out), a generator and a
        dtype. Default ``"he_normal"`` for ReLU and the like, ``"glorot_uniform"`` else. Biases are zeros.

    Attributes
    ----------
    params : FlatParameters
        ``W1, b1, W2, b2, ...`` and, with normalization, ``gamma1, beta1, ...``; entries can be changed in place and
        assigned to.
    grads : FlatParameters
        Their gradients, which :meth:`backward` overwrites. Like the parameters they can be changed in place and
        assigned to, one by one or all at once; values are copied in.

    Raises
    ------
    ValueError, TypeError
        For arguments out of range; the message names them.

    Notes
    -----
    A network is for one thread at a time: its memory is that of the pass in progress. Give each thread one of its own
    (:meth:`copy`). Copies and pickles have gradients of zero. Values that are not finite pass as NumPy would take them.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfc
    >>> net = fastfc.Network([8, 64, 64, 4], activation="tanh", dtype="float32", seed=0)
    >>> optimizer = fastfc.Optimizer("adam", learning_rate=1e-3)
    >>> X = np.ones((32, 8), np.float32)
    >>> out = net.forward(X)
    >>> dX = net.backward(2 * out / out.size)
    >>> optimizer.step(net, max_norm=0.5)
    >>> bool((net.forward(X) ** 2).mean() < (out**2).mean())
    True
    """

    def __init__(
        self,
        dims: Sequence[int],
        activation: str = "relu",
        *,
        normalization: str | None = None,
        dropout_keep_ratio: float = 1.0,
        dtype: DTypeLike = "float32",
        seed: Seed = None,
        initializer: Initializer | Sequence[Initializer] | None = None,
    ) -> None:
        first, *hidden, last = checked_widths(dims)
        net = FullyConnectedNet.__new__(FullyConnectedNet)
        net._build(hidden, first, last, dropout_keep_ratio, normalization, 0.0, dtype, None, activation=activation)
        net.dtype = np.dtype(dtype).type
        rng = generator(seed)
        draw_weights(net.params, initializer, activation, rng)
        self._adopt(net, new_words(rng))

    def _adopt(self, net: FullyConnectedNet, words: np.ndarray) -> None:
        """Make this the network of an instance that nobody else has, with a stream (STREAM,) of random words."""
        self._net = net
        self._grads = FlatParameters(net.params.shapes, net.dtype, "grads")
        self._stream = aligned_zeros(STREAM, np.dtype(np.uint32))
        self._stream[:] = words
        self._plain = net.input_mean is None and net.input_scale is None
        self._dtype, self._features, self._outputs = net.params.dtype, (net.dims[0],), net.dims[-1]
        self._calls = Calls(net, self._grads, self._stream)
        # Kept by the last forward pass: its memory, or the caches of the reference; and the shape of its batch.
        self._last: Any = None
        self._shape: tuple[int, ...] = ()

    @property
    def params(self) -> FlatParameters:
        return self._net.params

    @params.setter
    def params(self, values: dict[str, Any]) -> None:
        self._net.params = values

    @property
    def grads(self) -> FlatParameters:
        return self._grads

    @grads.setter
    def grads(self, values: dict[str, Any]) -> None:
        if values is not self._grads:
            self._grads.replace(values)

    @property
    def dims(self) -> list[int]:
        """Features, widths of the hidden layers, outputs."""
        return self._net.dims

    @property
    def dtype(self) -> np.dtype:
        """Of the parameters and of all computations."""
        return self._dtype

    @property
    def activation(self) -> str:
        """The constructor's."""
        return self._net.activation

    @property
    def normalization(self) -> str | None:
        """The constructor's."""
        return self._net.normalization

    def __repr__(self) -> str:
        options = {"activation": self.activation, "normalization": self.normalization, "dtype": self.dtype.name}
        return _display.as_text("Network", [self.dims], options)

    def _repr_html_(self) -> str:
        return _display.as_html("Network", self._net._layout(), {"dtype": self.dtype.name})

    def __getstate__(self) -> dict[str, Any]:
        return {"net": self._net, "stream": np.array(self._stream)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._adopt(state["net"], state["stream"])

    def forward(self, X: ArrayLike, training: bool = True) -> np.ndarray:
        """The scores of a batch.

        Parameters
        ----------
        X : array (N, d1, ..., dk)
            Of any real dtype, computed in the network's.
        training : bool
            Whether batch normalization takes the batch's own statistics, dropout drops, and what :meth:`backward`
            needs is kept. A pass in test mode leaves alone what the last one in training mode has kept.

        Returns
        -------
        scores : array (N, outputs)
            The caller's own.

        Raises
        ------
        ValueError
            For a shape that does not fit, or, in training mode, no rows.
        TypeError
            If X does not hold real numbers.
        """
        # The usual case, without the full check: it would take as long as a small pass.
        if self._plain and type(X) is np.ndarray and X.dtype == self._dtype and X.shape[1:] == self._features:
            x = X
        else:
            x = self._net._inputs(X)
            x = x.reshape(len(x), *self._features)
        n, fast = len(x), get_backend() == "fast"
        if not training:
            return self._calls.few_scores(x) if fast and 0 < n <= FEW_ROWS else self._net.loss(X)
        if n == 0:
            raise ValueError(f"X: expected at least one row in training mode, got shape {x.shape}")
        self._last, self._shape = None, np.shape(X)
        if not fast:
            scores, self._last = forward_by_reference(self._net, self._calls.keep, self._stream, x)
            return scores
        found = self._calls.passes.get(n) or self._calls.new_pass(n)
        found.x[...] = x
        found.forward(found.plan, 0, found.call)
        self._last = found
        return found.scores.copy()

    def backward(self, dout: ArrayLike, *, input_gradient: bool = True) -> np.ndarray | None:
        """From a gradient of the scores to those of all parameters, which are in ``grads`` after it.

        Parameters
        ----------
        dout : array (N, outputs)
            The gradient of the scores that the last :meth:`forward` in training mode has returned; any numbers.
        input_gradient : bool
            Whether the gradient of the batch is computed too.

        Returns
        -------
        dX : array of X's shape, or None without `input_gradient`
            The caller's own.

        Raises
        ------
        RuntimeError
            If there has been no forward pass in training mode.
        ValueError
            For another shape than the scores'.
        TypeError
            If dout does not hold real numbers.

        Notes
        -----
        The parameters must be those of the forward pass. A further call for it overwrites the gradients.
        """
        last = self._last
        if last is None:
            raise RuntimeError("backward: expected a forward pass in training mode before it, net.forward(X)")
        array = dout if type(dout) is np.ndarray else as_array("dout", dout)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"dout: expected an array of real numbers, got dtype {array.dtype}")
        expected = self._shape[0], self._outputs
        if array.shape != expected:
            raise ValueError(f"dout: expected shape {expected}, as the scores have, got {array.shape}")
        if type(last) is not Pass:
            dx = backward_by_reference(self._net, self.grads, array.astype(self._dtype), last)
        else:
            last.dscores[...] = array
            last.backward(last.plan, 0, last.call if input_gradient else last.call_without)
            dx = last.dx
        if not input_gradient:
            return None
        dx = dx.copy()
        if self._net.input_scale is not None:
            dx *= self._net.per_feature("input_scale", self._features)
        return dx.reshape(self._shape)

    def predictor(self, rows: int = 1) -> Callable[[ArrayLike], np.ndarray]:
        """A function for scores in test mode, on memory of its own: the quickest way from an observation to an action.

        Parameters
        ----------
        rows : int
            Of each call.

        Returns
        -------
        predict : function
            ``predict(X)`` of X (features,) returns the scores (outputs,); for more rows than one X is
            (rows, features) and the scores are (rows, outputs). They are the caller's own. It follows this network's
            parameters and running statistics as they change; copied or pickled along with it, it follows the copy.

        Raises
        ------
        TypeError, ValueError
            If `rows` is no integer of at least 1; by ``predict``, for an X of another shape or without real numbers.

        Examples
        --------
        >>> act = Network([4, 16, 2], seed=0).predictor()
        >>> act(np.zeros(4)).shape
        (2,)
        """
        return Predictor(self, rows)

    def average(self, other: "Network", tau: float) -> None:
        """Move towards another network (Polyak averaging): ``params = (1 - tau) * params + tau * other.params``.

        Running statistics of batch normalization move alike.

        Parameters
        ----------
        other : Network
            With the same layers, activation, normalization, dtype and standardization of inputs.
        tau : float
            From 0 to 1, which makes a copy.

        Raises
        ------
        TypeError, ValueError
            If `other` is no such network, or `tau` no such number; nothing has changed then.
        """
        if not isinstance(other, Network):
            raise TypeError(f"other: expected a Network, got {type(other).__name__}")
        if other._net._kind() != self._net._kind():
            raise ValueError(f"other: expected a network like {self!r}, got {other!r}")
        require_range("tau", tau, 0.0, 1.0)
        move_towards(self._net, self._calls, other._net, tau)

    def copy(self) -> "Network":
        """A network of its own with the same parameters, running statistics and random stream.

        Returns
        -------
        Network
        """
        new = Network.__new__(Network)
        new._adopt(self.to_net(), self._stream)
        return new

    @classmethod
    def from_net(cls, net: FullyConnectedNet, seed: Seed = None) -> "Network":
        """A network with copies of a :class:`fastfc.FullyConnectedNet`'s parameters, statistics and options.

        Its loss and L2 strength play no part, nor does its own seed: dropout is drawn from a stream that `seed` starts.

        Parameters
        ----------
        net : FullyConnectedNet
        seed : int, RandomState, Generator or None
            As the constructor's.

        Returns
        -------
        Network

        Raises
        ------
        TypeError
            If `net` is no such network.
        ValueError
            If it has the dropout of 2017.
        """
        if not isinstance(net, FullyConnectedNet):
            raise TypeError(f"net: expected a FullyConnectedNet, got {type(net).__name__}")
        if net.use_dropout and legacy_of(net.dropout_param):
            raise ValueError("net: expected a network without the dropout of 2017")
        new = cls.__new__(cls)
        own = unpacked(packed(net), FullyConnectedNet)
        # With it, passes in test mode would seed NumPy's global stream, as the course's do.
        own.dropout_param.pop("seed", None)
        new._adopt(own, new_words(generator(seed)))
        return new

    def to_net(self) -> FullyConnectedNet:
        """A :class:`fastfc.FullyConnectedNet` with copies of the parameters and running statistics.

        Returns
        -------
        FullyConnectedNet
        """
        return unpacked(packed(self._net), FullyConnectedNet)

    def save(self, fname: str | os.PathLike[str]) -> None:
        """Write the network as :meth:`fastfc.FullyConnectedNet.save` does; :func:`fastfc.load_model` reads it too.

        Parameters
        ----------
        fname : path

        Raises
        ------
        OSError
            If the file cannot be written; an older one is still there then.
        """
        self._net.save(fname)

    @classmethod
    def load(cls, fname: str | os.PathLike[str], seed: Seed = None) -> "Network":
        """The network that a file of :meth:`save`, or of a FullyConnectedNet, holds; arguments as :meth:`from_net`.

        Parameters
        ----------
        fname : path
        seed : int, RandomState, Generator or None
            As the constructor's.

        Returns
        -------
        Network

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not a network's.
        """
        return cls.from_net(load_model(fname), seed)
