"""A young log is not too optimistic: exposure is told while it is watched, and conversions at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import numpy as np
import pytest
from serving_fixtures import tiny_strategy
from young_log import CATALOGUE, YoungLog

from nba.feedback import N_INTERVALS, ExposureSchedule
from nba.outcomes import StageModel
from nba.posteriors import FactoredModel, HazardModel, LogisticModel, Model
from serving.evidence import TRIAL, Windows
from serving.replay import replay

CONTACTS, DAYS = 300, 4  # until the first interval of the first contact ends
SCHEDULE = ExposureSchedule.of(CATALOGUE)


@pytest.mark.parametrize("model", [FactoredModel(), LogisticModel(), HazardModel()])
def test_what_a_young_log_teaches_is_unbiased(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.ids.os.urandom", Random(5).randbytes)  # decision ids key the moments

    async def check() -> None:
        log = YoungLog(tmp_path, model, seed=5)
        await log.days(DAYS, CONTACTS)
        error = 1.0 / np.sqrt(log.expected_conversions(CONTACTS, DAYS))
        assert abs(log.ratio() - 1.0) < 4.0 * error, "told at the end of intervals it was 10 to 3,000"
        await log.close()

    asyncio.run(check())
    assert replay(tmp_path / "bundle", f"sqlite:///{tmp_path}/log.db").mismatches == 0


@pytest.mark.parametrize("is_contact", [True, False])
@pytest.mark.parametrize(
    "age", [6.0, *(pytest.param(age, marks=pytest.mark.slow) for age in (0.5, 3.0, 15.0))]
)
def test_exposure_told_by_an_age_is_on_average_the_exposure_watched(age: float, is_contact: bool) -> None:
    """And so it is for rounds that a newer contact closes at that age: nothing is told after it."""
    n, day = 1_500, 86_400_000_000
    windows, random = Windows(tiny_strategy(catalogue=CATALOGUE)), Random(1)
    steps = np.arange(N_INTERVALS)
    ids = [random.randbytes(16).hex() for _ in range(n)]
    begins, ends = SCHEDULE.begins(steps * 0, steps), SCHEDULE.cuts_days[0].astype(np.float64)
    contacted = np.full(N_INTERVALS, is_contact)
    whole = SCHEDULE.shares(steps * 0, steps, contacted)[0]
    due = [[windows.due(one, 0, "card", step, is_contact=is_contact) for step in steps] for one in ids]
    told = (np.array(due) <= age * day).astype(np.float64) @ whole
    begun = np.flatnonzero(begins < age)
    seen = SCHEDULE.watched(begun * 0, begins[begun], np.minimum(age, ends[begun]), contacted[begun])[0]
    assert abs(told.mean() - seen.sum()) < 4.0 * told.std() / np.sqrt(n)


def test_moments_lie_inside_their_intervals_and_a_trial_at_the_end_of_the_first() -> None:
    windows = Windows(tiny_strategy(catalogue=CATALOGUE, stages=(StageModel(stage="engaged", rate=0.3),)))
    step: int | None = 0
    told = []
    while step is not None:
        told.append(step)
        due = windows.due("d1", 0, "card", step, is_contact=True) / 86_400_000_000
        interval = 0 if step == TRIAL else step
        assert [0, *SCHEDULE.cuts_days[0]][interval] <= due <= SCHEDULE.cuts_days[0][interval]
        step = windows.following(step, is_contact=True)
    assert told == [0, TRIAL, 1, 2, 3] and due < windows.schedule.cuts_days[0][-1]
    assert windows.following(0, is_contact=False) == 1, "after no contact there is nothing to try"
