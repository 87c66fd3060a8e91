"""A network with the table that it was trained on: what its columns have, and how they become features."""

import json
import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastfc._arguments import stacklevel_outside
from fastfc._display import as_text, html_table, some_names
from fastfc.classifiers.fc_net import FullyConnectedNet, load_model
from fastfc.formats.atomic import replaced_file
from fastfc.formats.model import DAMAGE
from fastfc.formats.npz import npz_names, read_npz
from fastfc.formats.table_options import TableOptions
from fastfc.formats.table_text import shown
from fastfc.tabular._cells import numbers_of, texts_of
from fastfc.tabular._dates import DATE_PARTS
from fastfc.tabular._encode import encoded, feature_names, feature_places, refuse_too_large
from fastfc.tabular._labels import LABELS, labels_of, places_of
from fastfc.tabular._members import Averaged, member_kinds, packed_members, unpacked_members
from fastfc.tabular._pandas import require_frame, with_text_names
from fastfc.tabular._preset import smooth_clipped
from fastfc.tabular._read import read_new_rows

__all__ = ["TableModel", "has_table", "load_table_model"]

_FORMAT = "fastfc table 1"
_MOST_MEMBERS = 1000
# Of the columns in a notebook.
_MOST_ROWS = 30


class TableModel:
    """A trained network and the description of its table; made by :func:`fit_table` or :func:`load_table_model`.

    Parameters
    ----------
    net : FullyConnectedNet
    description : dict
        Of the table, in plain values.

    Attributes
    ----------
    net : FullyConnectedNet
        It takes the features, in the order of its `feature_names`. With several members it is the first of them.
    members : list of FullyConnectedNet
        The networks whose probabilities or numbers are averaged; mostly `net` alone.
    predictor : FullyConnectedNet or object
        ``predict`` and ``predict_proba`` of features: `net`, or the mean of all members.
    columns : list of dict
        The columns that it learns from, described in plain values.
    target : str
        The name of the column that it predicts.
    class_names : list of str or None
        The classes, as texts; None if it predicts numbers.
    classes : array (C,) or None
        The same as the target's column had them: integers, numbers, booleans or texts. Of files of text they are what
        pandas makes of them. A model that was saved by an older version has texts.
    notes : list of str
        What was taken for what, as far as it was said in the training.
    history : dict
        Of the training, with several members of the first one: ``loss`` by step, ``train`` and ``val``, the accuracies
        or R² by epoch.

    Examples
    --------
    >>> import pandas
    >>> from fastfc.tabular import fit_table
    >>> frame = pandas.DataFrame({"size": [1.5, 2.5, 3.0, 4.0] * 15, "kind": ["a", "b", "b"] * 20})
    >>> model = fit_table(frame, target="kind", hidden_dims=[8], num_epochs=2)
    >>> model.class_names, model.predict(frame).shape
    (['a', 'b'], (60,))
    """

    def __init__(
        self, net: FullyConnectedNet, description: dict[str, Any], members: Sequence[FullyConnectedNet] = ()
    ) -> None:
        self.net, self.description = net, description
        self.members = list(members) or [net]
        self.predictor: Any = net if len(self.members) == 1 else Averaged(self.members)
        self.notes: list[str] = []
        self.history: dict[str, list[float]] = {}

    @property
    def columns(self) -> list[dict[str, Any]]:
        return self.description["columns"]

    @property
    def target(self) -> str:
        return self.description["target"]

    @property
    def class_names(self) -> list[str] | None:
        return self.net.class_names

    @property
    def classes(self) -> np.ndarray | None:
        return None if self.class_names is None else labels_of(names=self.class_names, **_labels(self.description))

    def __repr__(self) -> str:
        classes = None if self.class_names is None else len(self.class_names)
        counts = {"columns": len(self.columns), "classes": classes, "members": len(self.members)}
        return as_text("TableModel", [], {"target": self.target, **counts})

    def _repr_html_(self) -> str:
        kinds = "numbers" if self.class_names is None else f"classes {some_names(self.class_names)}"
        count = len(self.members)
        of = f"{count} networks of " if count > 1 else ""
        line = f"target {self.target}, {kinds}; {of}{'-'.join(map(str, self.net.dims))}"
        places = feature_places(self.columns)
        rows = [
            (column["name"], column["kind"], "yes" if column["missing"] else "", f"{len(places[column['name']]):,}")
            for column in self.columns
        ]
        if len(rows) > _MOST_ROWS:
            rest = sum(len(places[name]) for name, *_ in rows[_MOST_ROWS:])
            rows[_MOST_ROWS:] = [("…", f"{len(rows) - _MOST_ROWS} more columns", "", f"{rest:,}")]
        head, foot = ("column", "kind", "with missing values", "features"), ("", "", "all", f"{self.net.dims[0]:,}")
        return html_table("TableModel", line, [head, *rows, foot])

    def features(self, frame_or_path: Any) -> np.ndarray:
        """The features of a table's rows.

        Parameters
        ----------
        frame_or_path : pandas.DataFrame or path

        Returns
        -------
        array (N, D), float64

        Raises
        ------
        ValueError, TypeError
            As :meth:`predict`.

        Warns
        -----
        UserWarning
            For what is unknown in the rows.
        """
        X, notes = encoded(self.columns, self._frame(frame_or_path))
        for note in notes:
            warnings.warn(note, UserWarning, stacklevel=3)
        clip = self.description.get("smooth_clip")
        if clip is not None:
            return smooth_clipped(X, clip)
        refuse_too_large(X, self.net.dtype, self.columns)
        return X

    def predict(self, frame_or_path: Any) -> np.ndarray:
        """Predict the classes or numbers of a table's rows.

        Parameters
        ----------
        frame_or_path : pandas.DataFrame or path
            Columns go by name; the target and others may be missing or be there.

        Returns
        -------
        array (N,)
            Classes, as the target's column had them (see `classes`), or numbers.

        Raises
        ------
        ValueError
            If the table lacks a column that the model takes, or has a number beyond the range of the network's dtype.

        Warns
        -----
        UserWarning
            For categories and other values that the model does not know.
        """
        found = self.predictor.predict(self.features(frame_or_path))
        classes = self.classes
        return found if classes is None else classes[found]

    def predict_proba(self, frame_or_path: Any) -> np.ndarray:
        """The probabilities of the classes.

        Parameters
        ----------
        frame_or_path : pandas.DataFrame or path

        Returns
        -------
        array (N, C)
            In the order of `class_names`.

        Raises
        ------
        ValueError
            If the model predicts numbers, or the table lacks a column.
        """
        if self.class_names is None:
            raise ValueError("predict_proba: the model predicts numbers and knows no classes; use predict")
        return self.predictor.predict_proba(self.features(frame_or_path))

    def score(self, frame_or_path: Any) -> float:
        """The accuracy, or the coefficient R², on a table that has the target; rows without it are left out.

        Parameters
        ----------
        frame_or_path : pandas.DataFrame or path

        Returns
        -------
        float
            Of numbers that are all equal it is 1 if the predictions are right, else 0.

        Raises
        ------
        ValueError
            If the table lacks a column or the target, or the target has no values.

        Warns
        -----
        UserWarning
            For categories, classes and other values that the model does not know, and for targets that are no numbers.
        """
        frame = self._frame(frame_or_path)
        y, known = self.targets(frame)
        if not known.any():
            raise ValueError(f"frame_or_path: expected a table with values of {self.target!r}, the target; it has none")
        predicted = self.predictor.predict(self.features(frame))[known]
        if self.class_names is not None:
            return float((predicted == y[known]).mean())
        y = y[known]
        spread = float(((y - y.mean()) ** 2).sum())
        errors = float(((predicted - y) ** 2).sum())
        return 1 - errors / spread if spread > 0 else float(errors == 0)

    def targets(self, frame: Any) -> tuple[np.ndarray, np.ndarray]:
        """The labels or numbers that a frame has in the target's column.

        Parameters
        ----------
        frame : pandas.DataFrame

        Returns
        -------
        y : array (N,)
            Labels, -1 for classes that the model does not know, or numbers.
        known : bool array (N,)
            Which are there.

        Raises
        ------
        ValueError
            If there is no such column.

        Warns
        -----
        UserWarning
            For classes that the model does not know, and targets that are no numbers.
        """
        if self.target not in frame.columns:
            raise ValueError(f"the table has no column {self.target!r}, the target")
        series = frame[self.target]
        if self.class_names is None:
            numbers, odd = numbers_of(series)
            if odd:
                told = f"column {self.target!r}: {shown(odd, 3)} count as missing, where numbers are expected"
                warnings.warn(told, UserWarning, stacklevel=stacklevel_outside())
            return numbers, ~np.isnan(numbers)
        texts, codes = texts_of(series)
        places = places_of(texts.tolist(), names=self.class_names, **_labels(self.description))
        unknown = [text for text, place in zip(texts.tolist(), places, strict=True) if place < 0]
        if unknown:
            told = f"column {self.target!r}: {shown(unknown, 3)} are none of the model's classes and count as wrong"
            warnings.warn(told, UserWarning, stacklevel=stacklevel_outside())
        return np.array([*places, -1])[codes], codes >= 0

    def _frame(self, frame_or_path: Any) -> Any:
        if isinstance(frame_or_path, str | os.PathLike):
            return read_new_rows(Path(frame_or_path), TableOptions(), self.description, self.class_names or ())[0]
        require_frame(frame_or_path)
        return with_text_names(frame_or_path, {self.target, *(column["name"] for column in self.columns)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write networks and description as one ``.npz`` file without pickles.

        :func:`fastfc.load_model` reads `net` from it, too; ``fastfc predict`` and :func:`load_table_model` read
        all of it.

        Parameters
        ----------
        path : path

        Raises
        ------
        OSError
            If the file cannot be written; an older one is still there then.
        """
        description = self.description
        if len(self.members) > 1:
            description = description | {"members": len(self.members)}
        arrays = packed_members(self.members) | {"table": np.array(json.dumps(description))}
        with replaced_file(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def has_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a model's with a table's description."""
    if not zipfile.is_zipfile(path):
        return False
    with open(path, "rb") as file:
        return "table" in npz_names(file, os.fspath(path))


def load_table_model(path: str | os.PathLike[str]) -> TableModel:
    """Read the model that :meth:`TableModel.save` or ``fastfc train`` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : path

    Returns
    -------
    TableModel

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or has no table's description.

    Examples
    --------
    >>> import pandas
    >>> from fastfc.tabular import fit_table
    >>> frame = pandas.DataFrame({"size": [1.5, 2.5, 3.0, 4.0] * 15, "kind": ["a", "b", "b"] * 20})
    >>> fit_table(frame, target="kind", hidden_dims=[8], num_epochs=2).save("kinds.npz")
    >>> load_table_model("kinds.npz").target
    'kind'
    """
    net = load_model(path)
    with open(path, "rb") as file:
        arrays = read_npz(file, os.fspath(path), lambda name: "U" if name == "table" else member_kinds(name))
    try:
        description = json.loads(str(arrays["table"][()]))
        count = description.pop("members", 1)
        if not isinstance(count, int) or not 1 <= count <= _MOST_MEMBERS:
            raise ValueError(f"it has {count!r:.40} members")
        others = unpacked_members(arrays, count)
        _check(description, net)
    except DAMAGE as error:
        raise ValueError(f"{os.fspath(path)}: not a model of a table, or a damaged one ({error})") from error
    return TableModel(net, description, [net, *others])


def _labels(description: dict[str, Any]) -> dict[str, Any]:
    """The kind and the dtype of a description's labels."""
    return {"kind": description.get("labels", "text"), "dtype": description.get("labels_dtype")}


def _check(description: Any, net: FullyConnectedNet) -> None:
    """Raise an error unless a description is whole and fits a network."""
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise ValueError("another format")
    if not isinstance(description["target"], str):
        raise ValueError("the target has no name")
    if not isinstance(description["width"], int | type(None)):
        raise ValueError("its width is no number")
    if description.get("labels", "text") not in LABELS:
        raise ValueError(f"labels of the kind {description['labels']!r:.40}")
    labels_of(names=net.class_names or [], **_labels(description))
    for column in description["columns"]:
        kind = column["kind"]
        if not isinstance(column["name"], str) or not isinstance(column["missing"], bool):
            raise ValueError("a column without a name")
        if kind == "category":
            if not all(isinstance(level, str) for level in column["levels"]) or not isinstance(column["other"], bool):
                raise ValueError(f"the categories of {column['name']!r:.40}")
        elif kind == "date":
            if not set(column["parts"]) <= DATE_PARTS.keys() or not isinstance(column["format"], str | type(None)):
                raise ValueError(f"the dates of {column['name']!r:.40}")
            if not all(np.isfinite(float(column["fill"][part])) for part in column["parts"]):
                raise ValueError(f"the medians of {column['name']!r:.40}")
        elif kind not in ("number", "boolean") or not np.isfinite(float(column["fill"])):
            raise ValueError(f"the kind of {column['name']!r:.40}")
    clip = description.get("smooth_clip")
    arrays = [] if clip is None else [np.array(clip[key], np.float64) for key in ("center", "factor")]
    for array in arrays:
        if array.shape != (net.dims[0],) or not np.isfinite(array).all():
            raise ValueError(f"its scaling is not {net.dims[0]} numbers")
    if len(feature_names(description["columns"])) != net.dims[0]:
        raise ValueError(f"its columns do not make the {net.dims[0]} features of the network")
