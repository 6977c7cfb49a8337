"""Rows as evidence: windows, forgetting, and when a fit may be kept."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from nonlinear import random_log, table, trees
from small import cut, small_rounds, small_strategy

from nba.arrays import join_rows, take_rows
from nba.feedback import RoundBatch
from nba.posteriors.neural import NeuralLinearModel
from nba.posteriors.rows import RowEvidence, RowPosterior, as_rows, canonical, kept_of, rounds_of

FITTED = -2
LOG = random_log(60, lambda x, actions: 0.5 * np.ones(actions.size), 1, 3)


def prior_of(**changes: Any) -> RowPosterior:
    return trees(**changes).prior(*table(3))


def fitted(posterior: RowPosterior) -> int:
    return int(posterior.rows[:, FITTED].sum())


def test_rows_hold_the_rounds_and_evidence_sorts_them() -> None:
    rounds = small_rounds(small_strategy(), 50)
    for column, again in zip(rounds, rounds_of(as_rows(rounds)), strict=True):
        np.testing.assert_array_equal(column, again)
        assert column.dtype == again.dtype
    first, second = (RowEvidence.of(part) for part in cut(rounds, 20))
    for one, other in zip(first + second, second + first, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal((first + second).rows, RowEvidence.of(rounds).rows)
    zeros = rounds._replace(rewards=-0.0 * rounds.rewards)
    np.testing.assert_array_equal(as_rows(zeros), as_rows(rounds._replace(rewards=0.0 * rounds.rewards)))


def test_the_order_of_rows_does_not_follow_their_values() -> None:
    rows = RowEvidence.of(random_log(2000, lambda x, a: 0.5 * np.ones(a.size), 2, 3)).rows
    order = np.arange(2000.0)
    for column in range(1, rows.shape[1] - 3):
        if np.ptp(rows[:, column]) > 0:
            assert abs(np.corrcoef(order, rows[:, column])[0, 1]) < 4.5 / np.sqrt(2000)


def test_a_window_drops_the_oldest_rows() -> None:
    parts = cut(LOG, 20, 40)
    prior = prior_of(most_rows=45)
    absorbed = prior
    for part in parts:
        absorbed = absorbed.absorb(absorbed.evidence(part))
    oldest = RowEvidence.of(parts[0]).rows[15:]
    wanted = np.concatenate([oldest, *(RowEvidence.of(part).rows for part in parts[1:])])
    np.testing.assert_array_equal(np.delete(absorbed.rows, FITTED, 1), np.delete(wanted, FITTED, 1))
    assert absorbed.rounds == 60.0 and fitted(absorbed) == 45
    folded = prior.fold(LOG)
    np.testing.assert_array_equal(np.delete(folded.rows, FITTED, 1), np.delete(as_rows(LOG)[15:], FITTED, 1))
    flood = prior_of(most_rows=7).absorb(RowEvidence.of(LOG))
    assert flood.rows.shape[0] == 7


@pytest.mark.parametrize("most_rows", [None, 25])
@pytest.mark.parametrize("refit_after", [0.0, 0.5])
def test_folding_does_not_depend_on_cuts(most_rows: int | None, refit_after: float) -> None:
    prior = prior_of(most_rows=most_rows, refit_after=refit_after)
    whole = prior.fold(LOG)
    for places in ((1,), (7, 8, 50), tuple(range(1, 60))):
        folded = prior
        for part in cut(LOG, *places):
            folded = folded.fold(part)
        np.testing.assert_array_equal(folded.rows, whole.rows)
        np.testing.assert_array_equal(folded.watched, whole.watched)
    nothing, _ = cut(LOG, 0)
    assert whole.fold(nothing) is whole and whole.absorb(whole.evidence(nothing)) is whole


def test_a_fit_is_renewed_when_the_rows_have_grown_by_half() -> None:
    posterior, seen = prior_of(refit_after=0.5), []
    for part in cut(LOG, 10, 14, 16, 20, 30):
        posterior = posterior.absorb(posterior.evidence(part))
        seen.append(fitted(posterior))
    assert seen == [10, 10, 16, 16, 30, 60]


def test_what_depends_on_the_fitted_rows_alone_is_kept() -> None:
    models: list[tuple[Any, str]] = [
        (trees(refit_after=0.5), "ensemble"),
        (NeuralLinearModel(steps=5), "network"),
    ]
    for model, name in models:
        first, more, much = cut(LOG, 20, 25)
        prior = model.prior(*table(3))
        early = prior.absorb(prior.evidence(first))
        fit = getattr(early, name)
        later = early.absorb(early.evidence(more))
        assert getattr(later, name) is fit and later.rows.shape[0] == 25
        assert getattr(later.absorb(later.evidence(much)), name) is not fit
        sent = pickle.loads(pickle.dumps(later))
        assert name in sent.__dict__ and name not in pickle.loads(pickle.dumps(prior)).__dict__
        np.testing.assert_array_equal(sent.mean(LOG.features[:5]), later.mean(LOG.features[:5]))
        # Fitted afresh from the state it is the same.
        x = LOG.features[:5]
        restored = structs.replace(prior, rows=later.rows, watched=later.watched)
        np.testing.assert_array_equal(restored.mean(x), later.mean(x))


def test_forgetting_halves_what_is_kept_and_ends_at_the_prior() -> None:
    for model in (trees(half_life_days=10.0), NeuralLinearModel(half_life_days=10.0, steps=20)):
        prior: Any = model.prior(*table(3))  # type: ignore[attr-defined]
        posterior, x = prior.absorb(prior.evidence(LOG)), LOG.features[:5]
        half = posterior.decayed(10.0)
        assert set(kept_of(half.rows)) == {0.5} and half.rounds == 30.0
        np.testing.assert_allclose(posterior.decayed(4.0).decayed(6.0).rows, half.rows, rtol=1e-12)
        gone = posterior.decayed(200.0)
        assert gone.rows.shape == prior.rows.shape
        np.testing.assert_array_equal(gone.mean(x), prior.mean(x))
        distance = [np.abs(one.mean(x) - prior.mean(x)).mean() for one in (posterior, half, gone)]
        assert distance[0] > distance[1] > distance[2] == 0.0
        assert structs.replace(posterior, half_life_days=None).decayed(10.0).rounds == 60.0


def test_equal_rows_that_are_not_equally_remembered_have_one_order() -> None:
    rows = as_rows(RoundBatch(*(np.repeat(column[:1], 3, axis=0) for column in LOG)))
    rows[:, -3] = [1.0, 0.25, 0.5]
    rows[:, FITTED] = [0.0, 1.0, 1.0]
    np.testing.assert_array_equal(canonical(rows)[:, -3], [0.25, 0.5, 1.0])
    shuffled = join_rows([take_rows(LOG, slice(30, 60)), take_rows(LOG, slice(0, 30))])
    np.testing.assert_array_equal(canonical(as_rows(shuffled)), canonical(as_rows(LOG)))
