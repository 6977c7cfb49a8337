"""`nba train` of one policy: the same bytes however the work is cut, on the simulator and on a log."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks.posteriors import instances, prior_of, rounds_of, same_state
from tables_fixtures import run as command
from training_fixtures import NO_FEATURES, cut_finely, dated, in_town, on_table, place

from experiments.executor import SerialExecutor
from experiments.training import blocks, folder, simulated
from experiments.training.blocks import N_BLOCKS, HeldBlocks, even_edges, learnt_in_blocks, merged, summed
from experiments.training.logged import days_of
from experiments.training.run import Place, Sizes, simulated_training, train_logged, train_simulated
from experiments.training.timed import TimedExecutor
from nba.apprentice import Apprentice
from nba.bundle import load_bundle, posterior_bytes
from nba.errors import InvalidConfig
from nba.learning import learnt_batch
from nba.posteriors import BaggedModel, EnsembleModel, FittedQModel, HazardModel, Model, NeuralLinearModel

LEARNERS = [model for model in instances() if not isinstance(model, FittedQModel)]
LONG = BaggedModel, HazardModel, NeuralLinearModel
QUICK_AND_SLOW = [
    pytest.param(one, id=type(one).__name__, marks=[pytest.mark.slow] if isinstance(one, LONG) else [])
    for one in LEARNERS
]


# --- Blocks ----------------------------------------------------------------------------------------


def test_parts_are_added_in_pairs_and_nothing_is_added_for_none() -> None:
    assert merged("abcd") == "abcd"
    assert merged([None, "a", None, None]) == "a" and merged([None, None]) is None
    # Pairs show in floats: one by one nothing would be added to the first.
    assert merged([1e16, 1.0, 1.0, 1.0]) == 1e16 + 2.0 != sum([1e16, 1.0, 1.0, 1.0])


def test_rows_are_cut_evenly_and_in_their_order() -> None:
    edges = even_edges(10, 522)
    assert edges[0] == 10 and edges[-1] == 522 and (np.diff(edges) == 2).all()
    assert edges.size == N_BLOCKS + 1
    few = even_edges(0, 3)
    assert few[-1] == 3 and np.diff(few).sum() == 3


@pytest.mark.parametrize("tasks", [1, 4, 64])
def test_tasks_of_any_size_add_up_to_the_same_bits(tasks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=1_000) * 10.0 ** np.arange(-5, 5).repeat(100)
    edges = even_edges(0, values.size)

    def leaf(first: int, stop: int) -> float:
        return float(values[edges[first] : edges[stop]].sum())

    monkeypatch.setattr(blocks, "LEAST_ROWS", 1)
    whole = summed(leaf, edges, SerialExecutor(), 1)
    monkeypatch.setattr(blocks, "_MOST_TASKS", tasks)
    assert summed(leaf, edges, SerialExecutor(), 1) == whole
    assert whole == pytest.approx(values.sum(), abs=1e-6)


@pytest.mark.parametrize("model", QUICK_AND_SLOW)
def test_a_batch_in_blocks_teaches_what_it_teaches_at_once(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_finely(monkeypatch)
    prior, rounds = prior_of(model), rounds_of(model)
    of = np.arange(rounds.n_rows) * N_BLOCKS // rounds.n_rows
    found = learnt_in_blocks(prior, HeldBlocks.of(rounds, of), SerialExecutor())
    at_once: Any = learnt_batch(prior, rounds)
    if not isinstance(model, EnsembleModel):  # its members meet noise that is keyed by the cut
        same_state(found, at_once, 1e-7)
    assert found.rounds == pytest.approx(at_once.rounds)


def test_an_empty_batch_teaches_nothing() -> None:
    prior, rounds = prior_of(LEARNERS[0]), rounds_of(LEARNERS[0])
    none = HeldBlocks.of(type(rounds)(*(column[:0] for column in rounds)), np.zeros(0, dtype=np.int64))
    assert learnt_in_blocks(prior, none, SerialExecutor()) is prior


# --- On the simulator ------------------------------------------------------------------------------


@pytest.mark.parametrize("online", [False, True], ids=["daily", "online"])
def test_a_simulated_training_is_the_same_in_few_tasks_and_many(
    online: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_finely(monkeypatch)
    asked, digests = in_town(online), []
    for workers in (1, 64):
        run, out = TimedExecutor(SerialExecutor()), tmp_path / str(workers)
        with folder.training_folder(out, asked.settings(), lambda: 0.0) as kept:
            done = simulated.train(asked, run, workers, kept, lambda steps: None)
        assert len(done.cohorts) == (3 if workers == 1 else 6) and done.batches == 4
        assert run.spent.wall > 0.0 and run.spent.cpu > 0.0
        digests.append(posterior_bytes(done.learning.snapshot.posterior))
    assert digests[0] == digests[1]
    assert done.learning.rounds > 0.0 and done.daily.shape[0] == 7


class _KilledError(Exception):
    """What ends a training in the middle."""


@pytest.mark.parametrize("parts", [{}, {"model": LEARNERS[4]}], ids=["linear", "glm"])
def test_a_simulated_training_that_was_interrupted_goes_on_to_the_same_bundle(
    parts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = in_town(**parts)
    whole = train_simulated(asked, place(tmp_path / "whole"))
    after, real = [0], simulated._after_batch

    def failing(*given: Any) -> Any:
        after[0] += 1
        if after[0] == 3:
            raise _KilledError
        return real(*given)

    monkeypatch.setattr(simulated, "_after_batch", failing)
    with pytest.raises(_KilledError):
        train_simulated(asked, place(tmp_path / "cut"))
    assert (tmp_path / "cut" / "state.npz").exists()
    again = train_simulated(asked, place(tmp_path / "cut"))
    assert after[0] == 5 and again.digest == whole.digest  # two batches before, two after
    assert not (tmp_path / "cut" / "state.npz").exists()
    assert train_simulated(asked, place(tmp_path / "cut")) == again and after[0] == 5


def test_what_cannot_be_trained_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="'no-contact' learns nothing"):
        simulated_training("demo", "no-contact", Sizes(), False)
    pupil = in_town()
    pair = pupil.contender._replace(rules=pupil.contender.strategy, apprentice=Apprentice())
    with pytest.raises(InvalidConfig, match="without --strategy"):
        train_simulated(pupil._replace(contender=pair), place(tmp_path / "pair"))
    with pytest.raises(InvalidConfig, match="whole journeys"):
        train_simulated(in_town(model=FittedQModel()), place(tmp_path / "q"))
    sized = simulated_training("demo", "thompson", Sizes("clickbait", 9, 8, 7, 2), True)
    assert (sized.phase.customers, sized.phase.days, sized.phase.seed) == (9, 8, 7)
    assert sized.phase.publish_every_days == 2 and sized.world.config.name == "clickbait"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidConfig, match=r"notes.txt: there is no training.json"):
        train_simulated(in_town(), place(tmp_path))
    log = dated(tmp_path, 60)
    train_logged(on_table(log, tmp_path / "out"), place(tmp_path / "out"))
    rule = r"learning: the folder holds a training with daily, not online; name another --out"
    with pytest.raises(InvalidConfig, match=rule):
        train_logged(on_table(log, tmp_path / "out", online=True), place(tmp_path / "out"))


# --- On a log --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["linucb", "thompson"])
def test_a_logged_training_does_not_depend_on_tasks(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, digests = dated(tmp_path), []
    cut_finely(monkeypatch)
    for tasks in (1, 64):
        monkeypatch.setattr(blocks, "_MOST_TASKS", tasks)
        out = tmp_path / str(tasks)
        digests.append(train_logged(on_table(log, out, policy=policy), place(out)).digest)
    assert digests[0] == digests[1]


def test_online_learning_of_a_log_is_what_nba_learn_learns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = dated(tmp_path)
    trained = train_logged(on_table(log, tmp_path / "trained", online=True), place(tmp_path / "trained"))
    left = ",".join((*NO_FEATURES, "date"))
    words = ["--log", log, "--action", "action", "--reward", "bought", "--leave-out", left]
    code, _, _ = command(capsys, "learn", *words, "--policy", "linucb", "--out", tmp_path / "learnt")
    assert code == 0
    one, two = (load_bundle(tmp_path / name).posterior for name in ("trained", "learnt"))
    assert posterior_bytes(one) == posterior_bytes(two)
    assert trained.figures["prequential"]["gain"] > 0.0 and trained.figures["rows"] == 900


def test_a_logged_training_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, kept = dated(tmp_path), folder.TrainingFolder.save
    whole = train_logged(on_table(log, tmp_path / "whole"), place(tmp_path / "whole"))
    saved = [0]

    def failing(self: Any, arrays: Any) -> None:
        kept(self, arrays)
        saved[0] += 1
        if saved[0] == 2:
            raise _KilledError

    monkeypatch.setattr(folder.TrainingFolder, "save", failing)
    with pytest.raises(_KilledError):
        train_logged(on_table(log, tmp_path / "cut"), place(tmp_path / "cut"))
    again = train_logged(on_table(log, tmp_path / "cut"), place(tmp_path / "cut"))
    assert saved[0] == 5 and again.digest == whole.digest
    assert again.figures["prequential"] == whole.figures["prequential"]


def test_a_state_that_is_damaged_is_told(tmp_path: Path) -> None:
    asked = on_table(dated(tmp_path, 60), tmp_path / "out")
    with folder.training_folder(tmp_path / "out", asked.settings(), lambda: 0.0):
        (tmp_path / "out" / "state.npz").write_bytes(b"PK damaged")
    with pytest.raises(InvalidConfig, match=r"state.npz: cannot be read .*; remove it"):
        train_logged(asked, place(tmp_path / "out"))


def test_states_are_kept_when_the_last_one_is_old_enough(tmp_path: Path) -> None:
    now = [0.0]
    with folder.training_folder(tmp_path / "out", {}, lambda: now[0], 10.0) as kept:
        kept.save(partial(dict, number=np.arange(3)))
        assert kept.state() is None
        now[0] = 10.0
        kept.save(partial(dict, number=np.arange(3)))
    found = kept.state()
    assert found is not None and found["number"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("dates", "told"),
    [
        (["2026-03-02", "soon"], "must be dates or times as in ISO 8601.*'soon' in rows 2"),
        (["2026-03-02", "2026-03-01"], "row 2 is of an earlier day"),
        (["2026-03-02", ""], "must hold a time, and rows 2"),
    ],
)
def test_times_that_cannot_be_used_are_told_with_their_row(
    dates: list[str], told: str, tmp_path: Path
) -> None:
    from tables_fixtures import table_of

    with pytest.raises(InvalidConfig, match=told):
        days_of(table_of(tmp_path, "x,date\n" + "".join(f"1,{one}\n" for one in dates)), "date")


# --- The command -----------------------------------------------------------------------------------


def test_the_command_trains_on_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = dated(tmp_path, 300), tmp_path / "log"
    words = ["--log", log, "--action", "action", "--reward", "bought", "--at", "date", "--workers", 1]
    left = ["--leave-out", ",".join(NO_FEATURES)]
    code, told, _ = command(capsys, "train", *words, *left, "--out", out, "--json")
    found = json.loads(told)
    assert code == 0 and found["batches"] == 5 and found["blocks"] == 256 and found["rows"] == 300
    assert 0.0 < found["scaling_efficiency"] <= 1.05 and load_bundle(out).strategy.name == "linucb"
    code, told, said = command(capsys, "train", *words, *left, "--out", out)
    assert code == 0 and "nothing to do" in said and found["digest"][:16] in told
    town = ["--strategy", "epsilon-greedy", "--world", "clickbait", "--customers", 20, "--days", 4]
    code, told, _ = command(capsys, "train", *town, "--workers", 1, "--out", tmp_path / "town")
    assert code == 0 and "80 customer-days" in told and "scaling efficiency" in told
    code, _, said = command(capsys, "train", "--strategy", "rules", *words)
    assert code == 2 and "train on one of them" in said
    assert Place(out).workers == 1
