"""The report: one page that needs nothing else, whose numbers are those of the result."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from experiments.plots import Chart, charts, colours_of
from experiments.report import report_html
from experiments.report_columns import COLUMNS
from experiments.report_files import write_files
from experiments.report_markdown import markdown_html
from experiments.report_series import evaluation_series, regret_share, thinned, training_series
from experiments.results import LeaderboardRow
from experiments.spec import CONTROL
from experiments.tallies import DAILY
from tests.experiment_fixtures import small_result

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Tags that are open, ids, and everything that would make a browser ask for something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.asks: list[str] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in VOID else [tag]
        for name, value in attributes:
            self.ids += [value or ""] if name == "id" else []
            self.asks += (
                [value or ""] if name in ("src", "href", "srcset") and not str(value).startswith("#") else []
            )
            self.labels += [value or ""] if (tag, name) == ("svg", "aria-label") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html() -> str:
    return report_html(small_result())


@pytest.fixture(scope="module")
def drawn() -> list[Chart]:
    return charts(small_result())


def test_the_page_is_whole_and_asks_nobody_for_anything(html: str) -> None:
    page = Page(html)
    assert page.open == [] and page.asks == []
    assert len(page.ids) == len(set(page.ids))
    assert "://" not in html and "<script" not in html and "url(http" not in html
    assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', html)) <= set(page.ids)


def test_the_same_result_gives_the_same_bytes(html: str) -> None:
    assert report_html(small_result()) == html


def test_the_page_names_no_place_of_this_machine(html: str) -> None:
    assert str(Path(__file__).parent.parent) not in html and "/tmp" not in html


def test_every_chart_says_in_words_what_it_shows(html: str, drawn: list[Chart]) -> None:
    assert Page(html).labels == [chart.alt for chart in drawn]
    by_key = {chart.key: chart for chart in drawn}
    assert "thompson +4.00 (+3.50 to +4.50)" in by_key["incremental"].alt
    assert all("<text" in chart.svg and chart.caption and chart.title for chart in drawn)


def test_foreign_text_is_escaped(html: str) -> None:
    assert "As &lt;usual&gt; &amp; always." in html
    assert "<strong>thompson</strong> leads &lt;by far&gt; &amp; <code>surely</code>." in html


def test_the_leaderboard_shows_and_explains_every_number(html: str) -> None:
    fields = {column.field for column in COLUMNS}
    assert fields == set(LeaderboardRow.__struct_fields__) - {"strategy"}
    row = next(row for row in re.findall(r"<tr class=\"champion\">.*?</tr>", html))
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert "thompson" in row and cells[:4] == ["24.00", "+4.00", "+3.50", "+4.50"]


def test_strategies_keep_their_colours_whoever_wins() -> None:
    colours = colours_of(small_result())
    assert colours == colours_of(small_result(gain=1.0))
    assert len(set(colours.values())) == 3


def test_a_result_without_learners_has_no_learning_charts() -> None:
    result = small_result()
    silent = tuple(one for one in result.results if one.spec.name == CONTROL)
    found = charts(result._replace(results=silent, champion=CONTROL))
    assert {chart.key for chart in found}.isdisjoint({"learnt", "regret"})


def test_regret_share_is_that_of_the_last_seven_days() -> None:
    daily = np.zeros((10, len(DAILY)))
    daily[:8, DAILY.index("oracle_value")] = 2.0
    daily[:8, DAILY.index("expected_value")] = [2, 1, 1, 1, 1, 1, 1, 2]
    share = regret_share(daily)
    assert share[0] == 0.0 and share[6] == pytest.approx(6 / 14) and share[7] == pytest.approx(6 / 14)
    assert share[9] == pytest.approx(4 / 10)
    assert np.isnan(regret_share(np.zeros((3, len(DAILY))))).all()


def test_series_are_per_customer_and_measured_against_the_control() -> None:
    result = small_result()
    thompson, control = result.result("thompson"), result.result(CONTROL)
    assert training_series(control) == {}
    net = training_series(thompson)["online/cumulative_net_value"]
    rows = thompson.training_daily[:, [DAILY.index(name) for name in ("value", "cost", "loss")]]
    assert net[-1] == pytest.approx((rows @ [1, -1, -1]).sum() / 100)
    assert evaluation_series(control, control)["evaluation/incremental_value"] == pytest.approx(0)


def test_thinning_keeps_both_ends_and_drops_what_is_not_a_number() -> None:
    points = thinned(np.arange(1000.0))
    assert len(points) == 120 and points[0] == (1, 0.0) and points[-1] == (1000, 999.0)
    assert thinned(np.array([np.nan, 1.0])) == [(2, 1.0)]
    assert thinned(np.zeros(0)) == []


def test_markdown_that_verdicts_use() -> None:
    text = "## Head\none **bold**\ntwo\n\n- first\n- second\n\n| a | b |\n| --- | ---: |\n| 1 | `x` |"
    assert markdown_html(text).splitlines() == [
        "<h3>Head</h3>",
        "<p>one <strong>bold</strong> two</p>",
        "<ul><li>first</li><li>second</li></ul>",
        '<div class="scroll"><table><thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead>'
        "<tbody><tr><td>1</td><td><code>x</code></td></tr></tbody></table></div>",
    ]


def test_the_tables_hold_every_strategy_and_day(tmp_path: Path) -> None:
    result = small_result()
    folder = write_files(result, tmp_path)

    def table(name: str) -> list[dict[str, str]]:
        with (folder / "tables" / f"{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    board = table("leaderboard")
    assert [row["strategy"] for row in board] == ["thompson", "rules", CONTROL]
    assert float(board[0]["incremental_value"]) == 4.0
    assert len(table("training_daily")) == 600 and len(table("evaluation_daily")) == 120
    assert {row["factor"] for row in table("mix")} == {"channel", "product", "timing"}
    assert table("margins")[0]["better"] == "thompson"
    assert (folder / "verdict.md").read_text() == result.verdict
