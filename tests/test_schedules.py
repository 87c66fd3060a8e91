"""Schedules: their formulas, their places in a training, and PyTorch's where it is installed."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastfc
from fastfc import schedules, tolerance
from fastfc.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    Step,
    WarmUp,
)

STEPS, PER_EPOCH = 40, 4
# Schedule -> its factor in step s of a training of STEPS steps, as the formula has it.
CASES = {
    "constant": (Constant(0.3), lambda s: 0.3),
    "step by epoch": (Step(3, 0.5), lambda s: 0.5 ** (s // PER_EPOCH // 3)),
    "step by step": (Step(7, 0.2, by="step"), lambda s: 0.2 ** (s // 7)),
    "exponential by epoch": (Exponential(0.9), lambda s: 0.9 ** (s // PER_EPOCH)),
    "exponential by step": (Exponential(0.9, by="step"), lambda s: 0.9**s),
    "inverse scaling by step": (InverseScaling(0.5), lambda s: 1 / math.sqrt(1 + s)),
    "inverse scaling by epoch": (
        InverseScaling(0.7, rate=150, by="epoch"), lambda s: (1 + 150 * (s // PER_EPOCH)) ** -0.7,
    ),
    "cosine by step": (Cosine(0.1), lambda s: 0.1 + 0.9 * (1 + math.cos(math.pi * s / STEPS)) / 2),
    "cosine by epoch": (
        Cosine(by="epoch"), lambda s: (1 + math.cos(math.pi * (s // PER_EPOCH) / (STEPS // PER_EPOCH))) / 2,
    ),
    "short cosine": (
        Cosine(0.25, length=10), lambda s: 0.25 + 0.75 * (1 + math.cos(math.pi * min(s, 10) / 10)) / 2,
    ),
    "one cycle": (
        OneCycle(0.25, 10, 100, "linear"),
        lambda s: 0.1 + 0.9 * s / 9 if s <= 9 else 1 - (1 - 1e-3) * (s - 9) / 30,
    ),
    "warm-up by step": (
        WarmUp(6, Exponential(0.5, by="step"), 0.25), lambda s: 0.25 + 0.75 * s / 6 if s < 6 else 0.5 ** (s - 6),
    ),
    "warm-up by epoch": (
        WarmUp(2, "cosine", 0.0, by="epoch"),
        lambda s: s // PER_EPOCH / 2 if s < 8 else (1 + math.cos(math.pi * (s - 8) / (STEPS - 8))) / 2,
    ),
}  # fmt: skip


def all_factors(schedule, steps=STEPS, per_epoch=PER_EPOCH):
    return schedule.factors(0, steps, per_epoch, steps)


@pytest.mark.parametrize("case", CASES)
def test_formulas(case):
    schedule, formula = CASES[case]
    got = all_factors(schedule)
    assert got.dtype == np.float64
    assert got.shape == (STEPS,)
    # Each factor has a handful of rounding errors; those of a power and of the cosine's argument grow with the step.
    np.testing.assert_allclose(got, [formula(s) for s in range(STEPS)], rtol=0, atol=tolerance(np.float64, STEPS))


@pytest.mark.parametrize("case", CASES)
@given(first=st.integers(0, STEPS), count=st.integers(0, STEPS))
def test_a_part_of_the_steps_has_their_factors(case, first, count):
    """Bit for bit: a training that stops and goes on is the one that never stopped."""
    schedule, _ = CASES[case]
    count = min(count, STEPS - first)
    part = schedule.factors(first, count, PER_EPOCH, STEPS)
    np.testing.assert_array_equal(part, all_factors(schedule)[first : first + count])


@pytest.mark.parametrize("schedule", [Step(2), Exponential(0.5), InverseScaling(by="epoch"), Cosine(by="epoch")])
def test_within_an_epoch_the_factor_stays(schedule):
    factors = all_factors(schedule).reshape(-1, PER_EPOCH)
    assert np.all(factors == factors[:, :1])
    assert len(np.unique(factors[:, 0])) > 1


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_short_cycles(shape, share, total):
    factors = all_factors(OneCycle(share, 10, 100, shape), total, 1)
    assert np.all((factors >= 1e-3 * (1 - tolerance(np.float64, 4))) & (factors <= 1))
    if total > 1 and share < 1:
        np.testing.assert_allclose(factors[-1], 1e-3, rtol=0, atol=tolerance(np.float64, 4))


def test_names():
    for name, make in schedules.SCHEDULES.items():
        assert schedules.get(name) == make()
        assert isinstance(schedules.get(name), Schedule)
        np.testing.assert_array_equal(all_factors(schedules.get(name)), all_factors(make()))
    cosine = Cosine()
    assert schedules.get(cosine) is cosine
    assert WarmUp(3, "step").then == Step()


def test_a_schedule_of_ones_own():
    class Alternating:
        def factors(self, first_step, count, steps_per_epoch, total_steps):
            return 1.0 + np.arange(first_step, first_step + count) % 2

    assert isinstance(schedules.get(Alternating()), Alternating)
    np.testing.assert_array_equal(WarmUp(1, Alternating(), 0.5).factors(0, 4, 1, 4), [0.5, 1, 2, 1])


@pytest.mark.parametrize(("bad", "error"), [("plateau", ValueError), (Cosine, TypeError), (3, TypeError)])
def test_what_is_no_schedule(bad, error):
    with pytest.raises(error, match=r"^schedule: expected"):
        schedules.get(bad)


BAD_ARGUMENTS = [
    (lambda: Constant(-1), ValueError, "factor"),
    (lambda: Constant("1"), TypeError, "factor"),
    (lambda: Step(0), ValueError, "every"),
    (lambda: Step(1.5), TypeError, "every"),
    (lambda: Step(True), TypeError, "every"),
    (lambda: Step(2, by="batch"), ValueError, "by"),
    (lambda: Exponential(math.nan), ValueError, "gamma"),
    (lambda: Exponential(math.inf), ValueError, "gamma"),
    (lambda: InverseScaling(-0.5), ValueError, "power"),
    (lambda: Cosine(1.5), ValueError, "min_factor"),
    (lambda: Cosine(length=0), ValueError, "length"),
    (lambda: OneCycle(2), ValueError, "warm_share"),
    (lambda: OneCycle(div_factor=0.5), ValueError, "div_factor"),
    (lambda: OneCycle(shape="square"), ValueError, "shape"),
    (lambda: WarmUp(0), ValueError, "length"),
    (lambda: WarmUp(3, then="nothing"), ValueError, "then"),
    (lambda: WarmUp(3, then=3), TypeError, "then"),
    (lambda: WarmUp(3, start_factor=-0.1), ValueError, "start_factor"),
    (lambda: ReduceOnPlateau(1.5), ValueError, "factor"),
    (lambda: ReduceOnPlateau(patience=-1), ValueError, "patience"),
    (lambda: ReduceOnPlateau(mode="best"), ValueError, "mode"),
    (lambda: Cosine().factors(-1, 1, 1, 1), ValueError, "first_step"),
    (lambda: Cosine().factors(0, -1, 1, 1), ValueError, "count"),
    (lambda: WarmUp(3).factors(0, 1, 0, 1), ValueError, "steps_per_epoch"),
    (lambda: Cosine().factors(0, 1, 1, 0), ValueError, "total_steps"),
    (lambda: Cosine().factors(0, 1.0, 1, 1), TypeError, "count"),
    (lambda: ReduceOnPlateau().update("low"), TypeError, "value"),
]


@pytest.mark.parametrize(("call", "error", "name"), BAD_ARGUMENTS, ids=range(len(BAD_ARGUMENTS)))
def test_bad_arguments(call, error, name):
    with pytest.raises(error, match=f"^{name}: expected"):
        call()


# ------------------------------------------------------------------------------------------------ plateaus


def test_a_plateau_takes_patience_and_cools_down():
    plateau = ReduceOnPlateau(0.5, patience=1, min_delta=0.1, cooldown=2, min_factor=0.2)
    values = [3.0, 2.95, 2.95, 2.95, 2.95, 2.95, 2.95, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    factors = [plateau.update(value) for value in values]
    # Two values too many, two of cooling down, two more; then an improvement.
    assert factors == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2, 0.2]
    assert (plateau.best, plateau.current) == (2.0, 0.2)


def test_the_larger_the_better_and_nan_never():
    plateau = ReduceOnPlateau(0.5, patience=0, mode="max", min_delta=0)
    assert [plateau.update(value) for value in (0.1, 0.2, 0.2, math.nan, 0.3)] == [1, 1, 0.5, 0.25, 0.25]


# ------------------------------------------------------------------------------------------------- oracles


def test_a_plateau_with_another_monitor():
    plateau = dataclasses.replace(ReduceOnPlateau(0.5, patience=0), monitor="val_acc")
    assert [plateau.update(value) for value in (0.1, 0.2, 0.3, 0.2)] == [1, 1, 1, 0.5]


def test_scikit_learns_inverse_scaling():
    theirs = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    optimizer, samples = theirs.SGDOptimizer([], 0.2, lr_schedule="invscaling", power_t=0.4), 150
    rates = []
    for epoch in range(8):
        rates.append(optimizer.learning_rate)
        optimizer.iteration_ends((epoch + 1) * samples)
    got = InverseScaling(0.4, rate=samples, by="epoch").factors(0, 8, 1, 8)
    np.testing.assert_allclose(0.2 * got, rates, rtol=tolerance(np.float64, 8))


# Schedule by step -> the same of PyTorch, for an optimizer with a learning rate of 1.
TORCH = {
    "StepLR": (Step(7, 0.2, by="step"), lambda lr, o: lr.StepLR(o, 7, 0.2)),
    "ExponentialLR": (Exponential(0.9, by="step"), lambda lr, o: lr.ExponentialLR(o, 0.9)),
    "CosineAnnealingLR": (Cosine(0.1), lambda lr, o: lr.CosineAnnealingLR(o, STEPS, 0.1)),
    "OneCycleLR": (OneCycle(), lambda lr, o: lr.OneCycleLR(o, 1.0, STEPS, cycle_momentum=False)),
    "OneCycleLR linear": (
        OneCycle(0.4, 10, shape="linear"),
        lambda lr, o: lr.OneCycleLR(o, 1.0, STEPS, None, None, 0.4, "linear", False, div_factor=10.0),
    ),
    "SequentialLR": (
        WarmUp(6, Exponential(0.9, by="step")),
        lambda lr, o: lr.SequentialLR(o, [lr.LinearLR(o, 1 / 3, 1, 6), lr.ExponentialLR(o, 0.9)], [6]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.filterwarnings("ignore")
def test_pytorchs_schedules(name):
    torch = pytest.importorskip("torch")
    schedule, make = TORCH[name]
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    theirs, expected = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    np.testing.assert_allclose(all_factors(schedule), expected, rtol=tolerance(np.float64, 8 * STEPS))


def test_pytorchs_plateau():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=0.05, threshold_mode="abs", cooldown=1, min_lr=0.1
    )
    ours = ReduceOnPlateau(0.5, 2, 0.05, 1, 0.1)
    for value in np.random.default_rng(0).random(60).cumsum()[::-1] // 3:
        theirs.step(value)
        assert ours.update(value) == optimizer.param_groups[0]["lr"]


class Own:
    def __init__(self, factors):
        self._factors = factors

    def factors(self, first_step, count, steps_per_epoch, total_steps):
        return self._factors(count)


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize(
    ("factors", "error"),
    [
        (lambda count: np.ones(count + 1), ValueError),
        (lambda count: np.ones((count, 1)), ValueError),
        (lambda count: 0.5, ValueError),
        (lambda count: np.full(count, np.nan), ValueError),
        (lambda count: np.ma.masked_all(count), ValueError),
        (lambda count: None, TypeError),
        (lambda count: ["a"] * count, TypeError),
    ],
)
def test_factors_of_ones_own_that_are_none(factors, error, backend):
    X, y = np.ones((20, 3)), np.arange(20) % 2
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    net = fastfc.FullyConnectedNet([4], 3, 2)
    before = net.params.flat.copy()
    solver = fastfc.Solver(net, data, batch_size=5, num_epochs=2, verbose=False, schedule=Own(factors))
    with fastfc.use_backend(backend), pytest.raises(error, match="schedule: expected"):
        solver.train()
    np.testing.assert_array_equal(net.params.flat, before)
