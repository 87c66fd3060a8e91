"""fastfc.sklearn: several members in one estimator, n_members."""

import pickle
import signal
import threading
import time

import joblib
import numba
import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_random_state

from fastfc.ops.tolerance import tolerance
from fastfc.sklearn import MLPClassifier, MLPRegressor, to_sklearn

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="thousands of interpreted steps take minutes"),
]

RAW, LABELS = load_iris(return_X_y=True)
X = (RAW - RAW.mean(axis=0)) / RAW.std(axis=0)
NUMBERS = np.column_stack([X[:, 0] + X[:, 1] ** 2, X[:, 2]])
WEIGHTS = np.random.RandomState(0).uniform(0.5, 2, len(X))
OPTIONS = {"hidden_layer_sizes": (8,), "max_iter": 15, "batch_size": 30, "random_state": 3}
# A sum of three, and the quotients of probabilities.
BOUND = tolerance(np.float64, 20)
CASES = [
    (MLPClassifier, LABELS),
    (MLPClassifier, np.array(["no", "yes"])[(LABELS == 1).astype(int)]),
    (MLPClassifier, np.eye(3, dtype=int)[LABELS]),
    (MLPRegressor, NUMBERS),
    (MLPRegressor, NUMBERS[:, 0]),
]


def seeds_of(random_state, count=3):
    return check_random_state(random_state).randint(2**31 - 1, size=count)


@pytest.mark.parametrize(
    "options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=["adam", "stopped", "lbfgs"]
)
@pytest.mark.parametrize(("kind", "y"), CASES, ids=["three", "two", "multilabel", "outputs", "one output"])
def test_an_ensemble_is_the_mean_of_single_estimators(kind, y, options):
    model = kind(**{**OPTIONS, **options}, n_members=3).fit(X, y, WEIGHTS)
    singles = [kind(**{**OPTIONS, **options, "random_state": seed}).fit(X, y, WEIGHTS) for seed in seeds_of(3)]
    for member, single in zip(model.members_, singles, strict=True):
        np.testing.assert_array_equal(member.coefs_[0], single.coefs_[0])
    if kind is MLPClassifier:
        mean = np.mean([single.predict_proba(X) for single in singles], axis=0)
        np.testing.assert_allclose(model.predict_proba(X), mean, rtol=BOUND)
        expected = (mean > 0.5).astype(int) if y.ndim == 2 else model.classes_[mean.argmax(axis=1)]
        np.testing.assert_array_equal(model.predict(X), expected)
    else:
        mean = np.mean([single.predict(X) for single in singles], axis=0)
        np.testing.assert_allclose(model.predict(X), mean, rtol=0, atol=BOUND * np.abs(mean).max())
    assert model.n_iter_ == max(single.n_iter_ for single in singles)
    assert model.n_outputs_ == singles[0].n_outputs_
    assert not hasattr(model, "coefs_")
    assert not hasattr(model, "network_")


def test_hinge():
    for y in (LABELS, LABELS == 1):
        model = MLPClassifier(**OPTIONS, loss="hinge", n_members=2).fit(X, y)
        mean = (model.members_[0].decision_function(X) + model.members_[1].decision_function(X)) / 2
        np.testing.assert_allclose(model.decision_function(X), mean, rtol=BOUND)
        chosen = mean.argmax(axis=1) if mean.ndim == 2 else (mean > 0).astype(int)
        np.testing.assert_array_equal(model.predict(X), model.classes_[chosen])


def test_threads_do_not_change_the_members():
    one, two = (MLPClassifier(**OPTIONS, n_members=3, n_threads=n).fit(X, LABELS) for n in (1, 2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    with joblib.parallel_config("threading", n_jobs=2):
        search = GridSearchCV(one, {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=2).fit(X, LABELS)
    assert len(search.best_estimator_.members_) == 3


def test_pickles_and_clones():
    model = MLPRegressor(**OPTIONS, n_members=2).fit(X, NUMBERS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    again = clone(model)
    with pytest.raises(NotFittedError):
        again.predict(X)
    np.testing.assert_array_equal(again.fit(X, NUMBERS).predict(X), model.predict(X))


def test_going_on():
    model = MLPClassifier(**OPTIONS, n_members=2, warm_start=True).fit(X, LABELS)
    singles = [MLPClassifier(**{**OPTIONS, "random_state": s}, warm_start=True).fit(X, LABELS) for s in seeds_of(3, 2)]
    first = model.predict_proba(X)
    model.set_params(alpha=0.1).fit(X, LABELS)
    for member, single in zip(model.members_, singles, strict=True):
        single.set_params(alpha=0.1).fit(X, LABELS)
        np.testing.assert_array_equal(member.predict_proba(X), single.predict_proba(X))
    assert (first != model.predict_proba(X)).any()
    with pytest.raises(ValueError, match="n_members: expected 2, as in the first fit, got 3"):
        model.set_params(n_members=3).fit(X, LABELS)


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_one_network_is_not_gone_on_with_by_several(first, then):
    model = MLPClassifier(**OPTIONS, n_members=first).fit(X, LABELS)
    expected = model.predict_proba(X)
    model.set_params(n_members=then)
    with pytest.raises(ValueError, match=f"n_members: expected {first}, as in the first fit, got {then}"):
        model.partial_fit(X, LABELS)
    with pytest.raises(ValueError, match=f"n_members: expected {first}, as in the first fit, got {then}"):
        model.set_params(warm_start=True).fit(X, LABELS)
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_partial_fit():
    model = MLPClassifier(**OPTIONS, n_members=2)
    single = MLPClassifier(**{**OPTIONS, "random_state": seeds_of(3, 2)[0]})
    for rows in (slice(0, 60), slice(60, 150)):
        for each in (model, single):
            each.partial_fit(X[rows], LABELS[rows], classes=[0, 1, 2])
    np.testing.assert_array_equal(model.members_[0].predict_proba(X), single.predict_proba(X))
    assert model.predict_proba(X).shape == (150, 3)


def test_one_and_several_by_turns():
    model = MLPClassifier(**OPTIONS).fit(X, LABELS)
    expected = model.predict_proba(X)
    model.set_params(n_members=2).fit(X, LABELS)
    assert not hasattr(model, "loss_curve_")
    assert (model.predict_proba(X) != expected).any()
    model.set_params(n_members=1).fit(X, LABELS)
    assert not hasattr(model, "members_")
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_a_failure_leaves_the_members_as_they_were():
    model = MLPClassifier(**OPTIONS, n_members=2, warm_start=True).fit(X, LABELS)
    before = pickle.dumps(model)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        model.set_params(solver="sgd", learning_rate_init=1e300).fit(X, LABELS)
    model.set_params(solver="adam", learning_rate_init=0.001)
    assert pickle.dumps(model) == before
    for X_val in (X[:, :2], X):
        with pytest.raises(ValueError, match=r"features|inconsistent"):
            model.set_params(early_stopping=True).fit(X, LABELS, X_val=X_val, y_val=LABELS[:-1])
    np.testing.assert_array_equal(model.predict_proba(X), pickle.loads(before).predict_proba(X))


def test_validation_data_and_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = MLPClassifier(**OPTIONS, n_members=2, early_stopping=True)
    model.fit(frame, LABELS, X_val=frame[:50], y_val=LABELS[:50])
    assert list(model.feature_names_in_) == list("abcd")
    assert model.members_[0].best_validation_score_ is not None
    assert model.predict(frame).shape == (150,)


def test_what_is_refused():
    with pytest.raises(ValueError, match="n_members"):
        MLPClassifier(n_members=0).fit(X, LABELS)
    model = MLPClassifier(**OPTIONS, n_members=2).fit(X, LABELS)
    with pytest.raises(ValueError, match="net: expected one network"):
        to_sklearn(model)
    with pytest.raises(AttributeError, match="network_: expected an estimator with one network"):
        _ = model.network_
    theirs = to_sklearn(model.members_[0])
    np.testing.assert_allclose(theirs.predict_proba(X), model.members_[0].predict_proba(X), rtol=tolerance(float, 100))
    if hasattr(model, "set_callbacks"):
        from sklearn.callback import ProgressBar

        with pytest.raises(ValueError, match="n_members: expected 1 with callbacks"):
            model.set_callbacks(ProgressBar()).fit(X, LABELS)


def test_an_interrupt_ends_all_members():
    model = MLPClassifier((50,), n_members=3, n_threads=2, max_iter=10**7, n_iter_no_change=10**7, random_state=0)

    def interrupt():
        while not any(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate()):
            time.sleep(0.01)
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, LABELS)
    helper.join()
    with pytest.raises(NotFittedError):
        model.predict(X)
    # 10 million epochs would take half an hour.
    assert not any(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate())
