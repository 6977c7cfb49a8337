"""Campaign tables and column maps: read as they are meant, refused with the file, the field and the rule."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from nba.errors import InvalidConfig
from simulator.calibrate.columns import LEAKAGE, UCI_MAP, Answer, ColumnMap, Levels, load_map
from simulator.calibrate.table import SHIPPED, load

OWN = """client,age,bought,touches,wk,mo,segment,rate,clients
1,30,Y,1,1,3,a,0.5,1
2,40,N,3,Tuesday,March,b,0.7,2
3,50,N,1,wed,apr,a,0.9,0.5
4,60,Y,2,5,4,b,0.1,1
"""
OWN_MAP = ColumnMap(
    name="own",
    sold=Answer(column="bought", yes="Y", no="N"),
    contacts="touches",
    weekday="wk",
    month="mo",
    factors={"segment": Levels("segment")},
    indicators=("rate",),
    weight="clients",
)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return gzip.decompress(SHIPPED.read_bytes()).decode().splitlines()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.csv"
    path.write_text(OWN)
    return path


def test_a_table_of_one_s_own_is_read_by_its_map(own: Path) -> None:
    campaign = load(own, OWN_MAP)
    assert campaign.n_calls.tolist() == [1, 3, 1, 2]
    assert campaign.sold.tolist() == [True, False, False, True]
    assert campaign.weight.tolist() == [1, 2, 0.5, 1]
    assert campaign.factors["weekday"].codes.tolist() == [0, 1, 2, 4]  # numbers and names alike
    assert campaign.factors["month"].codes.tolist() == [2, 2, 3, 3]
    assert campaign.period.tolist() == [0, 0, 1, 1]  # a change of month starts the next period
    assert campaign.factors["segment"].labels == ("a", "b")
    assert campaign.indicators["rate"].mean() == pytest.approx(0.0)


def test_a_period_column_takes_the_place_of_the_months(own: Path) -> None:
    columns = structs.replace(OWN_MAP, period="age")
    assert load(own, columns).period.tolist() == [0, 1, 2, 3]


SPOILT_OWN = {
    "negative weight": ("0.5\n4", "-0.5\n4", r"clients, line 4: '-0.5': must be a weight of 0 or more"),
    "no weight": (r"(\d\.?\d*)\n", "0\n", "clients: the weights must not all be 0"),
    "thirteenth month": (",3,a", ",13,a", "mo, line 2: '13': unknown label.*or 1 to 12"),
    "no such month": ("March", "Brumaire", "mo, line 3: 'Brumaire': unknown label"),
    "no such day": ("Tuesday", "Someday", "wk, line 3: 'Someday': unknown label.*or 1 to 7"),
    "no touch": (",Y,1,", ",Y,0,", "touches, line 2: '0': must be a whole number from 1 to 999"),
    "not a number": ("0.7", "high", "rate, line 3: 'high': must be a finite number"),
    "nobody bought": (",Y,", ",N,", "bought: has 4 rows with 0 sales; none is 'Y'"),
    "all bought": (",N,", ",Y,", "bought: has 4 rows with 4 sales; all are 'Y'"),
    "third answer": (",N,3", ",maybe,3", "bought, line 3: 'maybe': unknown label; it must be one of N, Y"),
    "one value": (r"0\.[1579],", "1,", "rate: all values are the same"),
    "column gone": ("segment", "section", "segment: column missing .the map 'own' names it."),
    "semicolons": (",", ";", "separated by ',', as the map says; it seems to be separated by ';'"),
    "tabs": (",", "\t", "it seems to be separated by tabs"),
    "one column": (r",.*", "", "fields must be separated by ',', as the map says$"),
    "never twice": (r",(Y|N),\d", r",\1,1", "touches: nobody was contacted twice"),
}


@pytest.mark.parametrize(("pattern", "by", "message"), SPOILT_OWN.values(), ids=SPOILT_OWN)
def test_a_bad_table_is_named_with_its_rule(own: Path, pattern: str, by: str, message: str) -> None:
    text = re.sub(pattern, by, OWN)
    if pattern.startswith(r"(\d"):
        text = OWN.splitlines()[0] + "\n" + text.partition("\n")[2]
    assert text != OWN
    own.write_text(text)
    with pytest.raises(InvalidConfig, match=message) as caught:
        load(own, OWN_MAP)
    assert caught.value.source == str(own)


SPOILT_UCI = {  # a pattern in the file's first lines, what takes its place, and the message
    "missing column": (r";[^;\n]*(?=\n)", "", r"bad\.csv: y: column missing .the map 'UCI Bank Marketing'"),
    "comma": (";", ",", "must be separated by ';', as the map says; it seems to be separated by ','"),
    "unknown label": ('"services"', '"astronaut"', "job, line 3: 'astronaut': unknown label; it must be one"),
    "empty label": ('"may"', "", "column month, line 2: '': unknown label"),
    "half a call": (";1;999;", ";1.5;999;", "'1.5': must be a whole number"),
    "row cut short": (r';"no"\n$', "", "column y, line 50: '': unknown label"),
    "text cut short": (r'"\n$', "", "cannot be read to its end"),
    "no rows": (r"\n(.|\n)*", "", "has no rows"),
    "empty": (r"(.|\n)*", "", "has no rows"),
}


@pytest.mark.parametrize(("pattern", "by", "message"), SPOILT_UCI.values(), ids=SPOILT_UCI)
def test_a_bad_copy_of_uci_s_file_is_refused(
    pattern: str, by: str, message: str, lines: list[str], tmp_path: Path
) -> None:
    text = "\n".join([*lines[:50], ""])
    path = tmp_path / "bad.csv"
    path.write_text(re.sub(pattern, by, text))
    assert path.read_text() != text
    with pytest.raises(InvalidConfig, match=message) as caught:
        load(path)
    assert caught.value.source == str(path)


def test_a_sample_of_uci_s_file_needs_a_map_that_allows_it(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("\n".join([lines[0], *lines[1::100]]))
    with pytest.raises(
        InvalidConfig, match=r"has 412 rows with \d+ sales, expected 41,188 with 4,640: not the whole"
    ):
        load(path)
    assert load(path, structs.replace(load_map(), n_clients=None, n_sales=None)).sold.size == 412


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv.gz"
    with pytest.raises(InvalidConfig, match="no such file"):
        load(path)
    for content in (SHIPPED.read_bytes()[:200_000], b"not gzip at all"):
        path.write_bytes(content)
        with pytest.raises(InvalidConfig, match="cannot be read to its end"):
            load(path)


def test_what_is_known_only_after_the_call_is_never_read(lines: list[str], tmp_path: Path) -> None:
    at = lines[0].split(";").index('"duration"')
    spoilt = [lines[0]]
    for number, line in enumerate(lines[1:]):
        fields = line.split(";")
        spoilt.append(";".join([*fields[:at], f'"leak {number}"', *fields[at + 1 :]]))
    path = tmp_path / SHIPPED.name
    path.write_bytes(gzip.compress("\n".join(spoilt).encode(), compresslevel=1))
    clean, leaky = load(), load(path)
    assert np.array_equal(clean.n_calls, leaky.n_calls) and np.array_equal(clean.sold, leaky.sold)
    assert all(np.array_equal(clean.indicators[name], leaky.indicators[name]) for name in clean.indicators)


@pytest.mark.parametrize("column", [*LEAKAGE, "agreed_price"])
def test_a_leaking_feature_is_refused(tmp_path: Path, column: str) -> None:
    path = tmp_path / "map.toml"
    text = UCI_MAP.read_text().replace('["duration"]', '["agreed_price"]')
    path.write_text(text.replace('"emp.var.rate"', f'"{column}"'))
    with pytest.raises(InvalidConfig, match=rf"indicators\[0\]: '{column}' is known only after the contact"):
        load_map(path)


BAD_MAPS = {
    "leaking factor": (
        'column = "job"',
        'column = "duration"',
        "factors.job.column: 'duration' is known only",
    ),
    "column twice": (
        'column = "job"',
        'column = "y"',
        "factors.job.column: column 'y' is already used as sold",
    ),
    "name taken": ("[factors.job]", "[factors.month]", "factors: the names month are taken"),
    "one kind": ('"cellular", "telephone"', '"cellular"', "contact.labels: needs two labels"),
    "separator": ('";"', '"; "', "separator: must be one character"),
    "unknown key": ("answered", "answer", "unknown field `answer`"),
    "no contacts": ("contacts =", "n_clients_too =", "unknown field|missing required field"),
    "not TOML": ("name =", "name", "line 4"),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD_MAPS.values(), ids=BAD_MAPS)
def test_a_bad_map_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(UCI_MAP.read_text().replace(old, new, 1))
    with pytest.raises(InvalidConfig, match=message) as caught:
        load_map(path)
    assert caught.value.source == str(path)


def test_a_map_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read: No such file"):
        load_map(tmp_path / "map.toml")
    (tmp_path / "map.toml").write_bytes(b"\xff")
    with pytest.raises(InvalidConfig, match="is not UTF-8 at byte 0"):
        load_map(tmp_path / "map.toml")
