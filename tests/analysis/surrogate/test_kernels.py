"""How Gaussian processes see cases: kernels, and logarithms of fields and outputs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from scythe_cli.analysis.surrogate.fitting import one_thread
from scythe_cli.analysis.surrogate.gaussian import GaussianProcess, fit_gaussian
from scythe_cli.analysis.surrogate.kernels import (
    KERNELS,
    SHARED,
    Hyperparameters,
    Kernel,
    bent,
    likeness,
    pair_likeness,
    pair_squares,
)
from scythe_cli.analysis.surrogate.space import Dimension, Space

GROUPS = np.array([0, 1, 1, 2])
X = np.random.default_rng(3).random((12, 4))


@pytest.fixture(autouse=True)
def one() -> Generator[None]:
    """Small sums take much longer in several threads."""
    with one_thread():
        yield


def hyper(kernel: Kernel, *, ratios: tuple[float, ...] = (), sign: int = 0) -> Hyperparameters:
    shares = (0.3, 1.0, 5.0) if kernel in SHARED else ()
    return Hyperparameters(kernel, (0.5, 0.8, 2.0), 1e-3, shares, ratios, sign)


@pytest.mark.parametrize("kernel", KERNELS)
def test_pairs_are_as_alike_as_cases_of_tables_and_change_as_is_said(kernel: Kernel) -> None:
    of = hyper(kernel, ratios=(3.0, 1.0, 20.0))
    seen = bent(X, of.ratios, GROUPS)
    scaled = seen / np.array(of.lengths)[GROUPS]
    table = likeness(of, GROUPS, scaled, scaled)
    squares = pair_squares(seen, GROUPS)
    logs = np.log([*of.lengths, *of.shares])

    def at(logs: Any) -> Any:
        return pair_likeness(kernel, squares, np.exp(logs[:3]), np.exp(logs[3:]))

    values, slopes = at(logs)
    assert np.allclose(table[np.triu_indices(len(X), 1)], values, atol=1e-12)
    assert np.allclose(np.diag(table), 1.0)
    for i in range(len(logs)):
        step = np.zeros(len(logs))
        step[i] = 1e-6
        assert np.allclose((at(logs + step)[0] - at(logs - step)[0]) / 2e-6, slopes[i], atol=1e-8), i


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_the_same_process_comes_again_from_plain_data(kernel: Kernel, sign: int) -> None:
    y = (sign or 1) * np.exp(X[:, 0] + X[:, 3])
    of = hyper(kernel, ratios=(1.0, 1.0, 8.0), sign=sign)
    again = Hyperparameters.from_json(of.to_json())
    assert again == of
    process = GaussianProcess.of(again, GROUPS, X, y)
    means, deviations = process.predict(X)
    assert np.corrcoef(means, y)[0, 1] > 0.99
    assert (np.sign(means) == np.sign(y)).all() or not sign
    assert (deviations >= 0).all()


def test_what_was_kept_before_there_were_logarithms_means_the_same() -> None:
    old = Hyperparameters.from_json({"kernel": "rbf", "lengths": [1, 2], "nugget": 1e-6})
    assert old == Hyperparameters("rbf", (1.0, 2.0), 1e-6)


def off(truth: Any, process: GaussianProcess, x: Any) -> float:
    return float(np.sqrt(((process.predict(x)[0] - truth) ** 2).mean()) / np.ptp(truth))


@pytest.mark.parametrize("sign", [1, -1])
def test_products_of_powers_are_learned_from_few_cases(sign: int) -> None:
    bounds = np.array([(1.0, 10.0), (2.0, 50.0), (0.1, 0.9)])
    ratios = [float(high / low) for low, high in bounds]

    def output(x: Any) -> Any:
        a, b, c = (bounds[:, 0] + x * np.ptp(bounds, axis=1)).T
        return sign * a**2 * b**-0.5 * c

    dice = np.random.default_rng(5)
    x, held_out = dice.random((12, 3)), dice.random((500, 3))
    process = fit_gaussian(x, output(x), np.arange(3), seed=[0], ratios=ratios)
    assert process.hyper.sign == sign
    assert process.hyper.ratios == tuple(ratios)
    assert off(output(held_out), process, held_out) < 1e-3
    straight = fit_gaussian(x, output(x) - sign * 1e-3 * process.y.mean(), np.arange(3), seed=[0])
    assert off(output(held_out), straight, held_out) > 1e-3


def test_outputs_of_both_signs_are_seen_as_they_are() -> None:
    x = np.random.default_rng(5).random((20, 2))
    y = np.exp(3 * x[:, 0]) - 1.5
    assert fit_gaussian(x, y, np.arange(2), seed=[0]).hyper.sign == 0


def test_sums_of_what_fields_do_alone_are_learned_from_few_cases() -> None:
    dice = np.random.default_rng(5)
    x, held_out = dice.random((40, 4)), dice.random((500, 4))

    def output(x: Any) -> Any:
        return np.sin(6 * x).sum(1) - 2.0

    process = fit_gaussian(x, output(x), np.arange(4), seed=[0])
    alone = fit_gaussian(x, output(x), np.arange(4), seed=[0], kernels=("rbf", "matern52"))
    assert process.hyper.kernel in SHARED
    assert off(output(held_out), process, held_out) < 0.2 * off(output(held_out), alone, held_out)


def test_only_numbers_above_zero_have_ratios() -> None:
    space = Space(
        (
            Dimension("a", 2.0, 8.0),
            Dimension("b", 0.0, 8.0),
            Dimension("c", -2.0, 8.0),
            Dimension("d", 1.0, 10.0, is_log=True),
            Dimension("e", values=("x", "y")),
        )
    )
    assert space.ratios == [4.0, 1.0, 1.0, 1.0, 1.0]


def test_what_lies_below_zero_has_a_prediction_all_the_same() -> None:
    x = np.random.default_rng(5).random((12, 1))
    y = 1.0 / (1.0 + 9.0 * x[:, 0])
    process = GaussianProcess.of(Hyperparameters("rbf", (2.0,), 1e-8, (), (10.0,), 1), np.zeros(1, np.int64), x, y)
    means, deviations = process.predict(np.array([[-0.5], [5.0]]))
    assert np.isfinite(means).all()
    assert np.isfinite(deviations).all()
