"""`nba mlflow` and `mlflow models serve`, with a real server, and real Chromium where there is one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from experiment_fixtures import empty_store, record_quickly, small_result
from sweep_fixtures import HEAD, plan_in, swept_in

from experiments.mlflow_ui import server
from experiments.mlflow_ui.links import links_of
from experiments.mlflow_ui.server import ServerNotStarted
from experiments.store import MissingStoreError
from experiments.sweeps.compared import compare_sweep
from experiments.sweeps.page import page_html
from experiments.sweeps.plan import Row
from experiments.sweeps.record import record_sweep
from experiments.sweeps.shelved import keep, kept_sweep
from experiments.tracking import record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 240.0  # seconds; the machine may be busy


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one result, report and charts included."""
    made = empty_store(tmp_path_factory)
    record(small_result(), made)
    return made


def test_links_lead_to_the_newest_runs_and_the_champion(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = empty_store(tmp_path_factory)
    assert links_of(store, "http://x") == {"runs": "http://x/#/experiments"}
    record_quickly(small_result(), store)
    newest = record_quickly(small_result(), store)
    links = links_of(store, "http://x")
    assert links["compare tiny trial"] == newest.compare_link("http://x")
    assert links["report of tiny trial"] == newest.report_link("thompson", "http://x")
    assert links["policies"] == "http://x/#/models/nba-policy"
    assert links["champion"] == "http://x/#/models/nba-policy/versions/1"


def test_no_store_and_a_port_in_use_are_one_clear_line(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(MissingStoreError, match="holds no mlflow.db"), server.serving(tmp_path, 0):
        pass
    with socket.create_server((server.HOST, 0)) as busy:
        port = busy.getsockname()[1]
        rule = f"port {port} of 127.0.0.1 cannot be had"
        with pytest.raises(ServerNotStarted, match=rule), server.serving(empty_store(tmp_path_factory), port):
            pass


@contextmanager
def started(store: Path) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """`nba mlflow --json` in a process of its own, and its links."""
    code = "import typer; from experiments.mlflow_ui.commands import mlflow; typer.run(mlflow)"
    words = [sys.executable, "-c", code, "--store", str(store), "--port", "0", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()), process
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def seen(link: str, folder: Path) -> str:
    """What a page holds once its scripts have run."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    words += ["--window-size=1600,2400", f"--user-data-dir={folder}"]
    words += ["--virtual-time-budget=60000", "--dump-dom", link]
    done = subprocess.run([str(CHROMIUM), *words], capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout


def text_of(page: str) -> str:
    """Its words, without markup."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", bare).split())


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
def test_a_browser_finds_runs_charts_and_the_report_with_their_numbers(store: Path, tmp_path: Path) -> None:
    with started(store) as (links, _):
        charts = text_of(seen(links["compare tiny trial"], tmp_path))
        for name in ("thompson", "rules", "no-contact", "3 matching runs", "cost/per_customer"):
            assert name in charts
        assert "1.00" in charts  # cost of thompson per customer, a quarter of its gain of 4
        viewer = seen(links["report of tiny trial"], tmp_path)
        assert '<iframe src="blob:' in viewer and "report/index.html" in viewer
        run = re.search(r"/runs/(\w+)/", links["report of tiny trial"])
        assert run is not None
        root = links["runs"].partition("/#/")[0]
        with urllib.request.urlopen(f"{root}/get-artifact?path=report/index.html&run_uuid={run[1]}") as got:
            (tmp_path / "report.html").write_bytes(got.read())
        report = text_of(seen((tmp_path / "report.html").as_uri(), tmp_path))
        assert "thompson" in report and "+4.00" in report and "24.00" in report
        champion = text_of(seen(links["champion"], tmp_path))
        assert "nba-policy" in champion and "nba.gate" in champion and "champion" in champion


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
def test_a_browser_finds_the_numbers_of_a_sweep(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    store, folder = empty_store(tmp_path_factory), tmp_path / "sweep"
    folder.mkdir()
    keep(swept_in(folder, plan_in(folder, HEAD.replace("seeds = 3", "seeds = 2"))), folder)
    compared = compare_sweep(kept_sweep(folder, "small"))
    recorded = record_sweep(compared, page_html(compared), store)
    (line,) = (one for one in compared.lines if one.row == Row("thompson", "clickbait"))
    gain = f"{line.figures['net_value'].difference.mean:.4g}".lstrip("-")[:4]
    with started(store) as (links, _):
        charts = text_of(seen(links["compare small"], tmp_path / "browser"))
        assert "thompson in clickbait" in charts and "difference/net_value" in charts
        base = links["compare small"].partition("?")[0]
        row = text_of(seen(f"{base}/{recorded.run_ids['thompson in clickbait']}", tmp_path / "browser"))
        assert "difference/net_value" in row and gain in row and "clickbait evaluation" in row
        root = links["runs"].partition("/#/")[0]
        summary = f"path=report/index.html&run_uuid={recorded.run_ids['summary']}"
        with urllib.request.urlopen(f"{root}/get-artifact?{summary}") as got:
            (tmp_path / "report.html").write_bytes(got.read())
        report = text_of(seen((tmp_path / "report.html").as_uri(), tmp_path / "browser"))
        assert "thompson" in report and gain in report


@pytest.mark.slow
def test_the_server_and_all_of_its_processes_end_with_the_command(store: Path) -> None:
    with started(store) as (links, process):
        address = links["runs"].partition("/#/")[0]
        with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
            assert answer.status == 200
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        group = [int(one) for one in children.read_text().split()] if children.exists() else []
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}/health", timeout=5)
    for one in group:
        with pytest.raises(ProcessLookupError):
            os.killpg(one, 0)


@contextmanager
def model_server(store: Path, folder: Path) -> Iterator[str]:
    """`mlflow models serve` of the champion, until it answers and while it does."""
    with socket.socket() as probe:
        probe.bind((server.HOST, 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/nba-policy@champion"]
    words += ["--env-manager", "local", "--host", server.HOST, "--port", str(port), "--workers", "1"]
    uri = f"sqlite:///{store / 'mlflow.db'}"
    env = os.environ | dict.fromkeys(("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"), uri)
    # MLflow calls uvicorn by its name, as in an activated environment.
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    with (folder / "words").open("wb") as said:
        process = subprocess.Popen(words, env=env, start_new_session=True, stdout=said, stderr=said)
    url, deadline = f"http://{server.HOST}:{port}", time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / "words").read_text()[-2_000:]
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/ping", timeout=5):
                break
            time.sleep(0.5)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def scored(url: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the served model says of a frame."""
    body = json.dumps({"dataframe_records": rows}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: list[dict[str, Any]] = json.load(answer)["predictions"]
    return found


@pytest.mark.slow
def test_mlflow_serves_the_champion_and_it_scores_a_frame(store: Path, tmp_path: Path) -> None:
    known = {"at": "2026-03-02T09:00:00+00:00", "segment": "mass", "age": 50.0, "has_app": True}
    ready = known | {"customer_id": "c1", "consents": ["call", "mail"], "decision_id": "d1"}
    with model_server(store, tmp_path) as url:
        (first,) = scored(url, [ready])
        (second,) = scored(url, [known | {"customer_id": "c2"}])
        assert first["decision_id"] == "d1" and 0.0 < first["propensity"] <= 1.0
        assert scored(url, [ready, ready | {"decision_id": "d2"}])[0] == first
        assert second["action_id"] == "no-contact" and second["propensity"] == 1.0  # no consent is known
