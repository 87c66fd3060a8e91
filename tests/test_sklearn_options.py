"""fastfc.sklearn: the options that scikit-learn's estimators do not have."""

import copy
import pickle

import numba
import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss, mean_absolute_error
from sklearn.neural_network import MLPRegressor as Theirs
from sklearn.utils.class_weight import compute_sample_weight

import fastfc
from fastfc import losses, schedules
from fastfc.activations import NAMES
from fastfc.ops.tolerance import tolerance
from fastfc.sklearn import MLPClassifier, MLPRegressor, from_sklearn, to_sklearn

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="thousands of interpreted steps take minutes"),
]

RAW, LABELS = load_iris(return_X_y=True)
X = (RAW - RAW.mean(axis=0)) / RAW.std(axis=0)
NUMBERS = X[:, 0] + X[:, 1] ** 2
# The longest sums are over the rows.
BOUND = tolerance(np.float64, 10 * len(X))
ONE_STEP = {"hidden_layer_sizes": (8,), "max_iter": 1, "batch_size": len(X), "random_state": 0, "alpha": 0.0}


def same(a, b, bound=BOUND):
    for mine, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=bound, atol=bound)


def start_of(kind, y, **options):
    """The network before the first step."""
    model = kind(**{**ONE_STEP, "solver": "sgd", "momentum": 0.0, "learning_rate_init": 1e-300, **options})
    return model.fit(X, y).network_


@pytest.mark.parametrize("weight", ["balanced", {0: 1.0, 1: 2.5, 2: 0.5}], ids=["balanced", "dict"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weights_multiply_those_of_the_rows(weight, solver):
    y, rows = LABELS[10:], np.linspace(0.5, 1.5, 140)
    options = {"max_iter": 10, "random_state": 0, "solver": solver}
    ours = MLPClassifier(class_weight=weight, **options).fit(X[10:], y, rows)
    same(ours, MLPClassifier(**options).fit(X[10:], y, rows * compute_sample_weight(weight, y)))


def test_weights_of_classes_that_some_rows_lack():
    part, weights = LABELS < 2, {2: 5.0, 1: 3.0}
    options = {"random_state": 0}
    ours = MLPClassifier(class_weight=weights, **options).partial_fit(X[part], LABELS[part], classes=[0, 1, 2])
    given = np.where(LABELS[part] == 1, 3.0, 1.0)
    same(ours, MLPClassifier(**options).partial_fit(X[part], LABELS[part], classes=[0, 1, 2], sample_weight=given))


def test_schedules():
    options = {"solver": "sgd", "max_iter": 10, "random_state": 0}
    scheduled = MLPClassifier(schedule=schedules.InverseScaling(0.3, rate=150, by="epoch"), **options).fit(X, LABELS)
    same(scheduled, MLPClassifier(learning_rate="invscaling", power_t=0.3, **options).fit(X, LABELS))
    halved = MLPClassifier(schedule=schedules.Constant(0.5), random_state=0, max_iter=5).fit(X, LABELS)
    same(halved, MLPClassifier(learning_rate_init=0.0005, random_state=0, max_iter=5).fit(X, LABELS))


def test_the_calls_of_partial_fit_go_through_one_schedule():
    options = {"schedule": "cosine", "max_iter": 6, "shuffle": False, "random_state": 0}
    whole = MLPRegressor(**options).fit(X, NUMBERS)
    parts = MLPRegressor(**options)
    for _ in range(6):
        parts.partial_fit(X, NUMBERS)
    same(whole, parts)


@pytest.mark.parametrize("y", [LABELS, LABELS == 1], ids=["softmax", "logistic"])
def test_label_smoothing(y):
    net = start_of(MLPClassifier, y)
    if len(np.unique(y)) == 3:
        expected, _ = losses.softmax_loss(net.loss(X), y, label_smoothing=0.2)
    else:
        expected, _ = losses.logistic_loss(net.loss(X), 0.8 * y[:, np.newaxis] + 0.1)
    model = MLPClassifier(label_smoothing=0.2, **ONE_STEP).fit(X, y)
    assert model.loss_ == pytest.approx(expected, rel=BOUND)


def test_weight_decay_is_decoupled_and_spares_biases():
    start = start_of(MLPRegressor, NUMBERS)
    least, decayed = (MLPRegressor(weight_decay=decay, **ONE_STEP).fit(X, NUMBERS) for decay in (1e-300, 0.5))
    for i, (a, b) in enumerate(zip(least.coefs_, decayed.coefs_, strict=True), start=1):
        np.testing.assert_allclose(a - b, 0.001 * 0.5 * start.params[f"W{i}"], rtol=0, atol=BOUND)
    for a, b in zip(least.intercepts_, decayed.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_norm_of_a_step_is_clipped():
    start = start_of(MLPRegressor, NUMBERS)
    model = MLPRegressor(solver="sgd", momentum=0.0, max_norm=1e-3, learning_rate_init=1.0, **ONE_STEP).fit(X, NUMBERS)
    step = np.concatenate([(model.network_.params[name] - start.params[name]).ravel() for name in start.params])
    assert np.linalg.norm(step) == pytest.approx(1e-3, rel=1e3 * BOUND)


def test_a_moving_average_goes_on_in_partial_fit():
    raw = MLPRegressor(**ONE_STEP, shuffle=False)
    averaged = MLPRegressor(ema=0.75, **ONE_STEP, shuffle=False)
    average = start_of(MLPRegressor, NUMBERS).params["W1"]
    for _ in range(3):
        average = 0.75 * average + 0.25 * raw.partial_fit(X, NUMBERS).coefs_[0]
        averaged.partial_fit(X, NUMBERS)
        np.testing.assert_allclose(averaged.coefs_[0], average, rtol=0, atol=BOUND)


def _trained_without(model):
    model.set_params(ema=None).partial_fit(X, NUMBERS).set_params(ema=0.75)


def _put_in(model):
    model.coefs_ = [2 * weights for weights in model.coefs_]


def _changed_in_place(model):
    model.coefs_[0] *= 2


@pytest.mark.parametrize("change", [_trained_without, _put_in, _changed_in_place])
def test_a_moving_average_goes_on_from_parameters_that_were_changed(change):
    """Those before the average was taken would undo the change."""
    averaged = MLPRegressor(ema=0.75, **ONE_STEP, shuffle=False).partial_fit(X, NUMBERS)
    change(averaged)
    start = averaged.coefs_[0].copy()
    raw = copy.deepcopy(averaged).set_params(ema=None).partial_fit(X, NUMBERS)
    averaged.partial_fit(X, NUMBERS)
    np.testing.assert_allclose(averaged.coefs_[0], 0.75 * start + 0.25 * raw.coefs_[0], rtol=0, atol=BOUND)
    # From there on it goes on as ever.
    again = pickle.loads(pickle.dumps(averaged))
    for _ in range(2):
        for model in (averaged, again):
            model.partial_fit(X, NUMBERS)
    np.testing.assert_array_equal(averaged.coefs_[0], again.coefs_[0])


def test_dropout_is_the_share_to_drop():
    options = {"hidden_layer_sizes": (400,), "random_state": 0, "max_iter": 1}
    net = MLPClassifier(dropout=0.25, **options).fit(X, LABELS).network_
    assert net.use_dropout
    assert net.dropout_param["p"] == 0.75
    model = MLPClassifier(dropout=0.25, **options).fit(X, LABELS)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))
    plain = MLPClassifier(**options).fit(X, LABELS)
    assert plain.loss_ != model.loss_


@pytest.mark.parametrize("normalization", ["batchnorm", "layernorm"])
@pytest.mark.parametrize("activation", NAMES)
def test_normalizations_and_activations_learn(normalization, activation):
    options = {"learning_rate_init": 0.01, "batch_size": 15, "max_iter": 40, "random_state": 0}
    model = MLPClassifier((16,), activation, normalization=normalization, **options)
    assert model.fit(X, LABELS).score(X, LABELS) > 0.9
    assert set(model.network_.params) > {"gamma1", "beta1"}


@pytest.mark.parametrize(
    ("loss", "parameter", "function"),
    [
        ("absolute_error", None, losses.absolute_loss),
        ("huber", 0.5, lambda x, t: losses.huber_loss(x, t, delta=0.5)),
        ("quantile", 0.9, lambda x, t: losses.quantile_loss(x, t, quantile=0.9)),
    ],
)
def test_losses_of_regression(loss, parameter, function):
    y = np.column_stack([NUMBERS, X[:, 2]])
    expected, _ = function(start_of(MLPRegressor, y).loss(X), y)
    options = {"loss": loss, "loss_parameter": parameter}
    model = MLPRegressor(**options, **ONE_STEP).fit(X, y)
    assert model.loss_ == pytest.approx(expected / 2, rel=BOUND)
    steps = MLPRegressor(**options, solver="lbfgs", max_iter=30, random_state=0).fit(X, y)
    assert steps.loss_ < model.loss_ / 2
    assert steps.predict(X).shape == y.shape


def test_a_quantile_lies_above_its_share():
    model = MLPRegressor("quantile", (20,), loss_parameter=0.8, max_iter=400, learning_rate_init=0.01, random_state=0)
    above = np.mean(model.fit(X, NUMBERS).predict(X) >= NUMBERS)
    assert 0.7 < above < 0.9


def test_given_validation_data_and_scores():
    train, held = slice(None, None, 2), slice(1, None, 2)
    options = {"early_stopping": True, "random_state": 0, "max_iter": 8, "restore_best": False}
    given = {"X_val": X[held], "y_val": LABELS[held], "sample_weight_val": np.linspace(1, 2, 75)}
    usual = MLPClassifier(**options).fit(X[train], LABELS[train], **given)
    # Nothing of the data is held out.
    plain = MLPClassifier(random_state=0, max_iter=8).fit(X[train], LABELS[train])
    same(usual, plain)
    score = usual.score(X[held], LABELS[held], given["sample_weight_val"])
    assert usual.validation_scores_[-1] == pytest.approx(score, rel=BOUND)
    by_loss = MLPClassifier(scoring="neg_log_loss", **options).fit(X[train], LABELS[train], **given)
    expected = -log_loss(LABELS[held], by_loss.predict_proba(X[held]), sample_weight=given["sample_weight_val"])
    assert by_loss.validation_scores_[-1] == pytest.approx(expected, rel=BOUND)


@pytest.mark.parametrize("normalization", [None, "batchnorm"])
def test_the_best_parameters_are_restored(normalization):
    held = {"X_val": X[::3], "y_val": NUMBERS[::3]}
    model = MLPRegressor(
        scoring=lambda model, X, y: -mean_absolute_error(y, model.predict(X)),
        early_stopping=True,
        learning_rate_init=0.5,
        normalization=normalization,
        random_state=0,
        max_iter=30,
        ema=0.5,
    ).fit(X, NUMBERS, **held)
    assert max(model.validation_scores_) == model.best_validation_score_ > model.validation_scores_[-1]
    assert -mean_absolute_error(held["y_val"], model.predict(held["X_val"])) == model.best_validation_score_


@pytest.mark.parametrize("dtype", [np.float32, "float64"])
def test_the_dtype_of_parameters(dtype):
    model = MLPRegressor(dtype=dtype, max_iter=2).fit(X.astype(np.float32), NUMBERS)
    assert {array.dtype for array in model.coefs_} == {np.dtype(dtype)}
    assert model.predict(X).dtype == dtype


def test_lbfgs_in_parts_is_lbfgs(monkeypatch):
    options = {"solver": "lbfgs", "max_iter": 10, "random_state": 0, "alpha": 0.1}
    whole = MLPClassifier(**options).fit(X, LABELS, np.linspace(0, 1, 150))
    monkeypatch.setattr("fastfc.sklearn._lbfgs._ROWS", 40)
    # Rounding that ten iterations and their line searches have passed on.
    same(whole, MLPClassifier(**options).fit(X, LABELS, np.linspace(0, 1, 150)), 1e-9)


@pytest.mark.parametrize(
    ("options", "given", "name"),
    [
        ({"dropout": 1.0}, {}, "dropout"),
        ({"normalization": "groupnorm"}, {}, "normalization"),
        ({"dtype": np.int32}, {}, "dtype"),
        ({"dtype": "no dtype"}, {}, "dtype"),
        ({"solver": "lbfgs", "dropout": 0.1}, {}, "dropout"),
        ({"solver": "lbfgs", "normalization": "batchnorm"}, {}, "normalization"),
        ({"solver": "lbfgs", "schedule": "cosine"}, {}, "schedule"),
        ({"solver": "sgd", "weight_decay": 0.1}, {}, "weight_decay"),
        ({"solver": "sgd", "schedule": "cosine", "learning_rate": "adaptive"}, {}, "learning_rate"),
        ({"schedule": "sometimes"}, {}, "schedule"),
        ({"loss": "hinge"}, {}, "loss"),
        ({"loss": "quantile", "loss_parameter": 2.0}, {}, "quantile"),
        ({"loss_parameter": 2.0}, {}, "loss"),
        ({"loss": "poisson"}, {}, "y: expected numbers of at least 0"),
        ({"hidden_layer_sizes": (3, 0)}, {}, "hidden_layer_sizes"),
        ({}, {"X_val": X, "y_val": NUMBERS}, "early_stopping"),
        ({"early_stopping": True, "solver": "lbfgs"}, {"X_val": X, "y_val": NUMBERS}, "solver='lbfgs'"),
        ({"scoring": "goodness"}, {}, "scoring"),
        ({"early_stopping": True}, {"X_val": X}, "y_val"),
        ({"early_stopping": True}, {"sample_weight_val": X[:, 0]}, "sample_weight_val"),
        ({"early_stopping": True}, {"X_val": X[:, :2], "y_val": NUMBERS}, "features"),
    ],
)
def test_wrong_options(options, given, name):
    with pytest.raises(ValueError, match=name):
        MLPRegressor(**{"max_iter": 1, **options}).fit(X, NUMBERS, **given)


def test_wrong_schedules_and_scores():
    with pytest.raises(ValueError, match=r"schedule: expected one of .*plateau, got 'none such'"):
        MLPClassifier(schedule="none such").fit(X, LABELS)
    with pytest.raises(TypeError, match="scoring: expected a number, got None"):
        MLPClassifier(early_stopping=True, scoring=lambda model, X, y: None).fit(X, LABELS)


def test_a_training_without_a_score_is_told():
    options = {"early_stopping": True, "max_iter": 2, "random_state": 0, "scoring": lambda model, X, y: np.nan}
    with pytest.warns(UserWarning, match="the parameters are those from before the training"):
        MLPClassifier(**options).fit(X, LABELS)
    MLPClassifier(**options, restore_best=False).fit(X, LABELS)


def test_wrong_labels_and_weights():
    with pytest.raises(ValueError, match="labels among"):
        MLPClassifier(early_stopping=True).fit(X, LABELS, X_val=X[:2], y_val=[0, 7])
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(class_weight="balanced").partial_fit(X, LABELS, classes=[0, 1, 2])
    with pytest.raises(TypeError, match="hidden_layer_sizes"):
        MLPClassifier((2.5,)).fit(X, LABELS)
    model = MLPClassifier(max_iter=1, random_state=0).fit(X, LABELS)
    before = model.predict_proba(X)
    for sample_weight, given, name in (
        (np.full(150, -1.0), {}, "sample_weight"),
        (None, {"X_val": X}, "y_val"),
    ):
        with pytest.raises(ValueError, match=name):
            model.fit(X, LABELS, sample_weight, **given)
        np.testing.assert_array_equal(model.predict_proba(X), before)
    model = MLPRegressor(max_iter=1, warm_start=True).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="normalization"):
        model.set_params(normalization="layernorm").fit(X, NUMBERS)


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    failing = [
        {"early_stopping": True, "given": {"X_val": X[:, :2], "y_val": LABELS}},
        {"early_stopping": True, "given": {"X_val": X, "y_val": np.full(150, "rose")}},
        {"early_stopping": True, "given": {"X_val": X, "y_val": LABELS, "sample_weight_val": [1.0]}},
        {"class_weight": {"rose": 2.0}, "given": {}},
        {"given": {"sample_weight": np.ones(3)}},
        {"solver": "sgd", "learning_rate_init": 1e300, "given": {}},
        {
            "activation": "tanh",
            "dropout": 0.5,
            "alpha": 1.0,
            "label_smoothing": 0.5,
            "schedule": "none such",
            "given": {},
        },
    ]
    for warm_start in (False, True):
        model = MLPClassifier((5,), max_iter=3, random_state=0, normalization="batchnorm", warm_start=warm_start)
        model.fit(X, LABELS)
        before, options = pickle.dumps(model), model.get_params()
        for change in failing:
            given = change["given"]
            model.set_params(**{name: value for name, value in change.items() if name != "given"})
            with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"."):
                model.fit(X, LABELS, **given)
            model.set_params(**options)
            assert pickle.dumps(model) == before, change
        unfitted = MLPClassifier(warm_start=warm_start, random_state=0)
        with pytest.raises(ValueError, match="sample_weight"):
            unfitted.fit(X, LABELS, np.full(150, -1.0))
        with pytest.raises(NotFittedError):
            unfitted.predict(X)


@pytest.mark.parametrize("schedule", [None, schedules.ReduceOnPlateau(patience=0)], ids=["none", "plateau"])
def test_a_step_of_partial_fit_that_fails_is_taken_back(schedule):
    model = MLPRegressor(hidden_layer_sizes=(5,), solver="sgd", batch_size=15, random_state=0, schedule=schedule)
    model.partial_fit(X, NUMBERS)
    expected = pickle.loads(pickle.dumps(model)).partial_fit(X, NUMBERS)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(X, 1e300 * NUMBERS)
    same(model.partial_fit(X, NUMBERS), expected, 0)


@pytest.mark.parametrize("y", [LABELS, LABELS == 1, np.array(["a", "b", "c"])[LABELS]], ids=["three", "two", "words"])
def test_hinge(y):
    model = MLPClassifier((10,), loss="hinge", max_iter=100, batch_size=15, random_state=0).fit(X, y)
    scores = model.network_.loss(X)
    assert model.score(X, y) > 0.9
    np.testing.assert_array_equal(model.predict(X), model.classes_[scores.argmax(axis=1)])
    decided = model.decision_function(X)
    if len(model.classes_) == 2:
        np.testing.assert_array_equal(decided, scores[:, 1] - scores[:, 0])
    else:
        np.testing.assert_array_equal(decided, scores)
    for method in ("predict_proba", "predict_log_proba"):
        assert not hasattr(model, method)
    with pytest.raises(AttributeError) as refused:
        model.predict_proba(X)
    assert "use decision_function" in str(refused.value.__cause__)
    assert not hasattr(MLPClassifier(), "decision_function")


def test_hinge_is_of_one_label_and_is_not_smoothed():
    with pytest.raises(ValueError, match="one label for each row"):
        MLPClassifier(loss="hinge").fit(X, np.eye(3, dtype=int)[LABELS])
    with pytest.raises(ValueError, match="label_smoothing"):
        MLPClassifier(loss="hinge", label_smoothing=0.1).fit(X, LABELS)
    reference = start_of(MLPClassifier, LABELS, loss="hinge")
    expected, _ = losses.svm_loss(reference.loss(X), LABELS)
    assert MLPClassifier(loss="hinge", **ONE_STEP).fit(X, LABELS).loss_ == pytest.approx(expected, rel=BOUND)


def test_the_global_stream_stays_where_it_is():
    state = np.random.get_state()[1].copy()
    MLPClassifier(random_state=0, max_iter=2, dropout=0.1).fit(X, LABELS).predict(X)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_a_stream_of_another_kind():
    model = MLPRegressor(random_state=np.random.RandomState(np.random.PCG64(3)), max_iter=2)
    assert np.isfinite(model.fit(X, NUMBERS).loss_)


def test_the_network_is_saved_and_loaded(tmp_path):
    model = MLPClassifier(normalization="batchnorm", random_state=0, max_iter=5).fit(X, LABELS)
    model.network_.save(tmp_path / "net.npz")
    loaded = fastfc.load_model(tmp_path / "net.npz")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize(("first", "then"), [("log_loss", "hinge"), ("hinge", "log_loss")])
@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_the_fitted_loss_predicts(kind, first, then, n_members):
    y = (LABELS == 1) if kind == "binary" else LABELS
    model = MLPClassifier((8,), loss=first, n_members=n_members, random_state=0, max_iter=5).fit(X, y)
    of_the_fit = "predict_proba" if first == "log_loss" else "decision_function"
    labels, values = model.predict(X), getattr(model, of_the_fit)(X)
    model.set_params(loss=then)
    np.testing.assert_array_equal(model.predict(X), labels)
    np.testing.assert_array_equal(getattr(model, of_the_fit)(X), values)
    assert not hasattr(model, "decision_function" if first == "log_loss" else "predict_proba")
    model.fit(X, y)
    assert hasattr(model, "decision_function") == (then == "hinge")


def test_a_warm_start_with_another_loss():
    model = MLPClassifier((8,), warm_start=True, random_state=0, max_iter=5).fit(X, LABELS)
    assert model.out_activation_ == "softmax"
    assert model.set_params(loss="hinge").fit(X, LABELS).out_activation_ == "identity"
    assert model.decision_function(X).shape == (150, 3)
    # Two classes are one output by the one loss, and two outputs by the other.
    for first, then, outputs in (("log_loss", "hinge", 1), ("hinge", "log_loss", 2)):
        model = MLPClassifier((8,), loss=first, warm_start=True, random_state=0, max_iter=5).fit(X, LABELS == 1)
        labels = model.predict(X)
        with pytest.raises(ValueError, match=f"loss: expected the one of the first fit.*{outputs} .*got '{then}'"):
            model.set_params(loss=then).fit(X, LABELS == 1)
        np.testing.assert_array_equal(model.predict(X), labels)


def test_conversions_take_the_fit_and_not_the_options_of_now():
    classifier = MLPClassifier((8,), random_state=0, max_iter=5).fit(X, LABELS)
    theirs = to_sklearn(classifier.set_params(activation="tanh"))
    np.testing.assert_allclose(theirs.predict_proba(X), classifier.predict_proba(X), rtol=BOUND)
    regressor = MLPRegressor(hidden_layer_sizes=(8,), warm_start=True, random_state=0, max_iter=5).fit(X, NUMBERS**2)
    regressor.set_params(loss="poisson")
    np.testing.assert_allclose(to_sklearn(regressor).predict(X), regressor.predict(X), rtol=BOUND, atol=BOUND)
    regressor.fit(X, NUMBERS**2)
    assert regressor.out_activation_ == "exp"
    np.testing.assert_allclose(to_sklearn(regressor).predict(X), regressor.predict(X), rtol=BOUND)
    theirs = Theirs(hidden_layer_sizes=(8,), random_state=0, max_iter=5).fit(X, NUMBERS**2).set_params(loss="poisson")
    np.testing.assert_allclose(from_sklearn(theirs).predict(X), theirs.predict(X), rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize(
    "weights", [{0: -1, 1: 1, 2: 1}, {0: np.nan, 1: 1, 2: 1}, {0: np.inf}, {0: "a"}, {7: 2}, {"0": 5}, [{0: 1}]]
)
def test_wrong_weights_of_classes_are_named(weights):
    with pytest.raises(ValueError, match=r"^class_weight: "):
        MLPClassifier((4,), class_weight=weights).fit(X, LABELS)


@pytest.mark.parametrize("name", ["X", "weights"])
def test_lbfgs_adds_up_losses_in_float64(name):
    """Single precision of the examples or their weights is no single precision of the loss."""
    weights = np.arange(150, dtype=np.float32) % 7
    options = {"solver": "lbfgs", "max_iter": 30, "random_state": 0, "dtype": np.float64}
    half = X.astype(np.float32) if name == "X" else X
    model = MLPRegressor(hidden_layer_sizes=(8,), **options).fit(half, NUMBERS, weights)
    expected = MLPRegressor(hidden_layer_sizes=(8,), **options).fit(half.astype(float), NUMBERS, weights.astype(float))
    assert model.loss_ == expected.loss_
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_rows_held_out_without_any_weight():
    weights = np.zeros(150)
    weights[0] = 1
    for model, y in ((MLPClassifier((8,)), LABELS), (MLPRegressor(hidden_layer_sizes=(8,)), NUMBERS)):
        model.set_params(early_stopping=True, random_state=0)
        with pytest.raises(ValueError, match="sample_weight: expected one above 0 among the 15 rows held out"):
            model.fit(X, y, weights)


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("widths", [(6,), (8, 4), (), 9])
def test_a_network_that_is_trained_on_keeps_its_layers(widths, n_members):
    model = MLPClassifier((8,), warm_start=True, n_members=n_members, random_state=0, max_iter=2).fit(X, LABELS)
    before = model.predict_proba(X)
    model.set_params(hidden_layer_sizes=widths)
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"hidden_layer_sizes: expected \[8\], as in the first fit, got"):
            go_on(X, LABELS)
        np.testing.assert_array_equal(model.predict_proba(X), before)
    model.set_params(hidden_layer_sizes=[8]).fit(X, LABELS)
    model.set_params(hidden_layer_sizes=widths, warm_start=False).fit(X, LABELS)


@pytest.mark.parametrize("n_members", [1, 2])
def test_a_network_that_is_trained_on_keeps_its_dtype(n_members):
    model = MLPClassifier((8,), warm_start=True, n_members=n_members, max_iter=2, dtype="float32").fit(X, LABELS)
    for dtype, error in (
        ("float64", "dtype: expected None or float32, as in the first fit, got float64"),
        ("int8", "dtype: expected None, float32 or float64, got 'int8'"),
    ):
        with pytest.raises(ValueError, match=error):
            model.set_params(dtype=dtype).fit(X, LABELS)
    model.set_params(dtype=None).fit(X, LABELS)


@pytest.mark.parametrize(
    ("first", "then"), [(None, "neg_log_loss"), ("accuracy", "neg_brier_score"), ("f1_macro", None)]
)
def test_scores_of_another_kind_are_not_compared(first, then):
    """An accuracy of 0.9 would beat all losses, and the parameters that had it would come back."""
    options = {"early_stopping": True, "random_state": 0, "max_iter": 5, "warm_start": True}
    model = MLPClassifier((8,), scoring=first, **options).fit(X, LABELS)
    again = copy.deepcopy(model).set_params(early_stopping=False).fit(X, LABELS).set_params(early_stopping=True)
    scores = model.set_params(scoring=then).fit(X, LABELS).validation_scores_
    assert len(scores) == 5
    assert model.best_validation_score_ == max(scores)
    again.set_params(scoring=then).fit(X, LABELS)
    assert again.best_validation_score_ == max(again.validation_scores_)
    # With the same scoring the scores go on.
    assert len(model.fit(X, LABELS).validation_scores_) == 10


def test_a_width_is_no_boolean():
    for widths in (True, (8, True)):
        with pytest.raises(TypeError, match="hidden_layer_sizes: expected integers"):
            MLPClassifier(widths).fit(X, LABELS)
