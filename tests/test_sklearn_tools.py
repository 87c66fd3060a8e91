"""fastfc.sklearn among scikit-learn's tools: searches, pipelines, callbacks, tables, pickles, interrupts."""

import copy
import io
import pickle

import numba
import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
import sklearn
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

import fastfc
from fastfc import FullyConnectedNet
from fastfc.sklearn import MLPClassifier, MLPRegressor, from_sklearn, to_sklearn
from fastfc.sklearn._options import threads_of
from fastfc.training.fit import Fit

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="thousands of interpreted steps take minutes"),
]

RAW, LABELS = load_iris(return_X_y=True)
X = (RAW - RAW.mean(axis=0)) / RAW.std(axis=0)
NUMBERS = np.column_stack([X[:, 0] + X[:, 1] ** 2, X[:, 2]])
SMALL = {"hidden_layer_sizes": (10,), "max_iter": 20, "random_state": 0}
OURS_AND_THEIRS = [(MLPClassifier, neural_network.MLPClassifier), (MLPRegressor, neural_network.MLPRegressor)]


@pytest.mark.parametrize(("ours", "theirs"), OURS_AND_THEIRS)
def test_the_constructor_is_scikit_learns(ours, theirs):
    mine, other = ours().get_params(), theirs().get_params()
    assert {name: mine[name] for name in other} == other
    by_position = ours(*(["poisson"] if ours is MLPRegressor else []), (3, 4), "tanh")
    assert (by_position.hidden_layer_sizes, by_position.activation) == ((3, 4), "tanh")
    with pytest.raises(TypeError):
        ours("poisson", (3, 4), "tanh", "sgd")


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_searches_in_parallel(backend):
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__activation": ["relu", "silu"]}
    found = []
    for n_jobs in (1, 2):
        model = make_pipeline(StandardScaler(), MLPClassifier(**SMALL))
        with joblib.parallel_config(backend):
            found.append(GridSearchCV(model, grid, cv=3, n_jobs=n_jobs).fit(RAW, LABELS))
    np.testing.assert_array_equal(found[0].cv_results_["mean_test_score"], found[1].cv_results_["mean_test_score"])
    assert found[0].best_params_ == found[1].best_params_


def test_other_meta_estimators():
    model = MLPClassifier(**SMALL)
    assert cross_val_score(model, X, LABELS, cv=3).shape == (3,)
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X, LABELS)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    halving = HalvingGridSearchCV(
        MLPClassifier((5,), random_state=0),
        {"alpha": [0.1, 1.0]},
        resource="max_iter",
        max_resources=8,
        min_resources=4,
    )
    assert halving.fit(X, LABELS).best_estimator_.n_iter_ <= 8


def test_one_thread_within_a_parallel_search(monkeypatch):
    def threads(n_jobs, **options):
        call = joblib.delayed(threads_of)(MLPClassifier(**options))
        return joblib.Parallel(n_jobs, backend="threading")([call])[0]

    monkeypatch.delenv("FASTFC_NUM_THREADS", raising=False)
    assert threads(2) == 1
    assert threads(1) is None
    assert threads(2, n_threads=2) == 2
    monkeypatch.setenv("FASTFC_NUM_THREADS", "2")
    assert threads(2) is None


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_pickles_go_on_alike(duplicate):
    model = MLPClassifier(normalization="batchnorm", dropout=0.1, **SMALL)
    model.partial_fit(X, LABELS, classes=[0, 1, 2])
    other = duplicate(model)
    assert other.coefs_[0] is other.network_.params["W1"]
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    if duplicate is not copy.copy:
        model.partial_fit(X, LABELS)
        assert model.loss_curve_ == other.partial_fit(X, LABELS).loss_curve_
        np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))


def test_joblib_and_clone():
    model = MLPRegressor(**SMALL).fit(X, NUMBERS)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    np.testing.assert_array_equal(joblib.load(file).predict(X), model.predict(X))
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    with pytest.raises(NotFittedError):
        fresh.network_  # noqa: B018


def test_arrays_that_somebody_puts_in_count():
    model = MLPRegressor(**SMALL).fit(X, NUMBERS)
    net = model.network_
    model.coefs_[-1] = np.zeros_like(model.coefs_[-1])
    np.testing.assert_array_equal(model.predict(X), np.tile(model.intercepts_[-1], (150, 1)))
    assert model.network_ is not net
    model.intercepts_[-1][:] = 3.0
    np.testing.assert_array_equal(model.predict(X), np.full((150, 2), 3.0))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables(library):
    frames = pytest.importorskip(library)
    if library == "polars" and parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("scikit-learn before 1.9 may not know the names of its columns")
    names = ["a", "b", "c", "d"]
    table = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    labels = frames.Series("species", ["uvw"[label] for label in LABELS]) if library == "polars" else None
    labels = frames.Series(["uvw"[label] for label in LABELS], name="species") if labels is None else labels
    model = MLPClassifier(early_stopping=True, **SMALL).fit(table, labels)
    assert list(model.feature_names_in_) == names
    assert list(model.classes_) == ["u", "v", "w"]
    by_scorer = MLPClassifier(early_stopping=True, scoring="accuracy", **SMALL).fit(table, labels)
    assert by_scorer.validation_scores_ == model.validation_scores_
    given = MLPClassifier(early_stopping=True, **SMALL).fit(table, labels, X_val=table, y_val=labels)
    assert given.score(table, labels) == given.best_validation_score_
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table.rename({"a": "z"}) if library == "polars" else table.rename(columns={"a": "z"}))


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_keeps_what_was_learnt(threads, monkeypatch):
    whole = MLPClassifier(batch_size=15, n_threads=threads, **SMALL).fit(X, LABELS)
    calls, call = [], Fit._call

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) > 34:
            raise KeyboardInterrupt
        return call(self, *args)

    # A step at a time: three epochs and four steps.
    monkeypatch.setattr("fastfc.training.fit.PART_SECONDS", 0.0)
    monkeypatch.setattr(Fit, "_call", interrupted)
    model = MLPClassifier(batch_size=15, n_threads=threads, **SMALL)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, LABELS)
    assert (model.n_iter_, model.t_) == (3, 450)
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_[:3], rtol=fastfc.tolerance(float, 1000))
    assert model.loss_ == model.loss_curve_[-1]
    assert model.predict(X).shape == LABELS.shape


def test_ctrl_c_restores_the_best():
    scored = []

    def score(estimator, X, y):
        scored.append(copy.deepcopy(estimator.coefs_))
        if len(scored) == 3:
            raise KeyboardInterrupt
        return -float(len(scored))

    model = MLPClassifier(early_stopping=True, learning_rate_init=0.3, scoring=score, **SMALL)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, LABELS)
    assert len(model.loss_curve_) == model.n_iter_ == 3
    assert model.validation_scores_ == [-1.0, -2.0]
    np.testing.assert_array_equal(model.coefs_[0], scored[0][0])


def test_ctrl_c_amid_compiled_epochs_restores_the_best(monkeypatch):
    """The usual score is taken inside of them."""
    options = {"early_stopping": True, "learning_rate_init": 0.3, "batch_size": 15, **SMALL, "n_iter_no_change": 50}
    calls, call = [], Fit._call

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) > 34:
            raise KeyboardInterrupt
        return call(self, *args)

    monkeypatch.setattr("fastfc.training.fit.PART_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Fit, "_call", interrupted)
        model = MLPClassifier(**options)
        with pytest.warns(UserWarning, match="interrupted by user"):
            model.fit(X, LABELS)
    # Nine steps an epoch, on 135 rows.
    assert len(model.validation_scores_) == model.n_iter_ == 3
    with pytest.warns(ConvergenceWarning):
        whole = MLPClassifier(**{**options, "max_iter": 3}).fit(X, LABELS)
    assert model.validation_scores_ == whole.validation_scores_
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])


def test_a_fit_that_does_not_converge_says_so():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(20\)"):
        MLPClassifier(**SMALL).fit(X, LABELS)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        MLPClassifier(solver="lbfgs", **SMALL).fit(X, LABELS)


class Recorder:
    """A callback of scikit-learn's protocol that ends the training after some epochs."""

    def __init__(self, epochs):
        self.epochs, self.seen = epochs, []

    def setup(self, estimator, context):
        self.seen.append("setup")

    def teardown(self, estimator, context):
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        if context.task_name != "epoch":
            self.seen.append("fit")
            return False
        before = copy.deepcopy(estimator.coefs_)
        self.seen.append(fitted_estimator.score(X, y))
        assert fitted_estimator.coefs_[0] is not estimator.coefs_[0]
        np.testing.assert_array_equal(fitted_estimator.coefs_[0], before[0])
        return context.task_id + 1 == self.epochs


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"solver": "lbfgs"}], ids=str)
def test_callbacks_of_scikit_learn(options):
    pytest.importorskip("sklearn.callback")
    recorder = Recorder(4)
    model = MLPClassifier(**options, **SMALL).set_callbacks(recorder).fit(X, LABELS)
    assert recorder.seen[0] == "setup"
    assert recorder.seen[-2:] == ["fit", "teardown"]
    assert len(recorder.seen) == 4 + 3
    assert model.n_iter_ == 4
    assert model.score(X, LABELS) == recorder.seen[-3]


def test_validation_data_in_a_pipeline():
    # They go through the scaler too.
    model = MLPClassifier(early_stopping=True, **SMALL)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        pipeline.fit(RAW, LABELS, X_val=RAW[::2], y_val=LABELS[::2])
    scaled = StandardScaler().fit(RAW).transform(RAW)
    direct = clone(model).fit(scaled, LABELS, X_val=scaled[::2], y_val=LABELS[::2])
    assert pipeline[-1].validation_scores_ == direct.validation_scores_


def test_a_monitor_of_scores():
    monitor = pytest.importorskip("sklearn.callback").ScoringMonitor(scoring="accuracy")
    MLPClassifier(**SMALL).set_callbacks(monitor).fit(X, LABELS)
    assert len(monitor.get_logs().data) >= 20


@pytest.mark.parametrize("y", [LABELS, LABELS == 1, np.eye(3, dtype=int)[LABELS], np.array(["b", "a", "c"])[LABELS]])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_classifiers_carried_over_and_back(y, solver):
    theirs = neural_network.MLPClassifier(solver=solver, **SMALL).fit(X, y)
    ours = from_sklearn(theirs)
    back = to_sklearn(ours)
    for model in (ours, back):
        np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
        bound = fastfc.tolerance(float, 1000)
        np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=bound)
    assert type(back) is type(theirs)
    assert back.get_params() == theirs.get_params()
    assert not np.may_share_memory(back.coefs_[0], theirs.coefs_[0])


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors_carried_over_and_back(loss):
    y = np.abs(NUMBERS)
    theirs = neural_network.MLPRegressor(loss, **SMALL).fit(X, y)
    ours = from_sklearn(theirs)
    for model in (ours, to_sklearn(ours), to_sklearn(ours.network_)):
        np.testing.assert_allclose(model.predict(X), theirs.predict(X), rtol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), OURS_AND_THEIRS)
def test_what_is_carried_over_goes_on_to_stop_early(ours, theirs):
    options = {**SMALL, "early_stopping": True, "warm_start": True}
    y = LABELS if ours is MLPClassifier else NUMBERS
    for start in (from_sklearn(theirs(**options).fit(X, y)), to_sklearn(ours(**options).fit(X, y))):
        carried = from_sklearn(to_sklearn(start)) if isinstance(start, ours) else to_sklearn(from_sklearn(start))
        expected = carried.predict(X)
        # No parameters are better than those that are carried over.
        carried.best_validation_score_ = 2.0
        carried.fit(X, y)
        np.testing.assert_allclose(carried.predict(X), expected, rtol=1e-12)
        assert len(carried.validation_scores_) > 12


@pytest.mark.parametrize("ours", [MLPClassifier, MLPRegressor])
def test_without_hidden_layers_scikit_learn_wants_an_activation_that_it_knows(ours):
    model = ours(**{**SMALL, "hidden_layer_sizes": ()}, activation="silu").fit(X, LABELS)
    np.testing.assert_allclose(to_sklearn(model).predict(X), model.predict(X), rtol=0, atol=fastfc.tolerance(float, 99))


@pytest.mark.parametrize("outputs", [2, 3])
def test_networks_for_scikit_learn(outputs):
    np.random.seed(outputs)
    net = FullyConnectedNet([6], 4, outputs, weight_scale=1.0, dtype=np.float64)
    net.input_mean, net.input_scale = RAW.mean(axis=0), 1 / RAW.std(axis=0)
    # scikit-learn's probability of the first of two classes is 1 less the other's. Scores are a few hundred at most.
    bound = fastfc.tolerance(float, 1000)
    np.testing.assert_allclose(to_sklearn(net).predict_proba(RAW), net.predict_proba(RAW), rtol=0, atol=bound)
    net.class_names = [f"class {i}" for i in range(outputs)]
    assert list(to_sklearn(net).classes_) == net.class_names
    separate = FullyConnectedNet([6], 4, outputs, weight_scale=1.0, dtype=np.float64, loss="logistic")
    np.testing.assert_array_equal(to_sklearn(separate).predict(RAW), separate.predict(RAW))


@pytest.mark.parametrize("names", [["z", "a"], ["9", "10", "100"], ["é", "B", "a"]])
def test_classes_in_another_order_than_scikit_learns(names):
    np.random.seed(1)
    net = FullyConnectedNet([6], 4, len(names), weight_scale=1.0, dtype=np.float64)
    net.input_mean, net.input_scale = RAW.mean(axis=0), 1 / RAW.std(axis=0)
    # No ties where all hidden outputs are 0.
    net.params["b2"] = np.linspace(0, 0.1, len(names))
    net.class_names = names
    theirs, predicted = to_sklearn(net), net.predict(RAW)
    assert len(set(predicted.tolist())) > 1
    assert theirs.predict(RAW).tolist() == [names[i] for i in predicted]
    order = [names.index(name) for name in theirs.classes_]
    bound = fastfc.tolerance(float, 1000)
    np.testing.assert_allclose(theirs.predict_proba(RAW), net.predict_proba(RAW)[:, order], rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["a", "a", "b"], "net: expected at least two classes, each with a name of its own, got 3"),
        (["a", "b"], "class_names: expected 3 strings"),
        (["a", "b", "c", "d"], "class_names: expected 3 strings"),
    ],
)
def test_names_that_tell_no_classes_apart(names, error):
    net = FullyConnectedNet([3], 4, 3)
    net.class_names = names
    with pytest.raises(ValueError, match=error):
        to_sklearn(net)
    with pytest.raises(ValueError, match="net: expected at least two classes"):
        to_sklearn(FullyConnectedNet([3], 4, 1))


@pytest.mark.parametrize("loss", ["softmax", "squared"])
def test_networks_go_on_in_scikit_learn(loss):
    net = FullyConnectedNet([6], 4, 3, loss=loss)
    theirs = to_sklearn(net)
    y = LABELS if loss == "softmax" else np.column_stack([NUMBERS, NUMBERS[:, :1]])
    for _ in range(2):
        theirs.partial_fit(X, y)
    assert len(theirs.loss_curve_) == 2
    assert theirs.loss_curve_[1] < theirs.loss_curve_[0]


def test_networks_with_methods_of_their_own():
    class Negated(FullyConnectedNet):
        def loss(self, X, y=None):
            return -super().loss(X, y)

    with pytest.raises(TypeError, match="net: expected a FullyConnectedNet's own methods, got another loss"):
        to_sklearn(Negated([3], 4, 3))


def test_networks_that_scikit_learn_does_not_have():
    for options in ({"normalization": "layernorm"}, {"activation": "silu"}, {"loss": "huber"}):
        with pytest.raises(ValueError, match="net: expected"):
            to_sklearn(FullyConnectedNet([3], 4, 2, **options))
    with pytest.raises(TypeError, match="net: expected"):
        to_sklearn("net")
    with pytest.raises(TypeError, match="mlp: expected"):
        from_sklearn(MLPClassifier())
    for function, model in ((from_sklearn, neural_network.MLPClassifier()), (to_sklearn, MLPClassifier())):
        with pytest.raises(NotFittedError):
            function(model)
