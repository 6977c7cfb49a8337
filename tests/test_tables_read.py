"""Tables of any make: separators, encodings, missing values, types; refusals with file, column and rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from tables_fixtures import log_frame, table_of, written

from experiments.tables.columns import IS_MISSING, NONE_LEVEL, OTHER_LEVEL, Encoded, Wish, read_schema
from experiments.tables.read import Table, coded, numbers, read_table
from nba.errors import InvalidConfig
from nba.features import Category, Flag, Numeric

SMALL = "a,b\n1,x\n2.5,y\n,x\n"


def test_separators_are_found_out(tmp_path: Path) -> None:
    for separator in ",;\t|":
        table = table_of(tmp_path, SMALL.replace(",", separator))
        np.testing.assert_array_equal(numbers(table.columns["a"]), [1.0, 2.5, np.nan])
        assert coded(table.columns["b"])[1] == ("x", "y")


def test_a_file_with_semicolons_may_have_decimal_commas(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a;b\n1,5;x,y\n-2;z\n")
    assert numbers(table.columns["a"]).tolist() == [1.5, -2.0]
    assert coded(table.columns["b"])[1] == ("x,y", "z")


def test_quoted_cells_may_hold_separators_and_line_breaks(tmp_path: Path) -> None:
    table = table_of(tmp_path, 'a,b\n"1",", ""x"""\n"2","p\nq"\n')
    assert numbers(table.columns["a"]).tolist() == [1.0, 2.0]
    assert coded(table.columns["b"])[1] == (', "x"', "p\nq")


def test_content_tells_the_format_and_not_the_name(tmp_path: Path) -> None:
    frame = log_frame(50)
    plain = written(tmp_path, frame)
    parquet = written(tmp_path, frame, "log.parquet")
    for number, content in enumerate((plain.read_bytes(), parquet.read_bytes())):
        for zipped in (content, gzip.compress(content, mtime=0)):
            (tmp_path / "table.dat").write_bytes(zipped)
            table = read_table(tmp_path / "table.dat", ("action",))
            assert table.n_rows == 50 and list(table.columns) == list(frame.columns), number
            np.testing.assert_array_equal(numbers(table.columns["age"]), frame["age"])


def test_texts_that_mean_missing(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a,b,c\n?,NA,None\n 3 , x ,y\n", "c")
    np.testing.assert_array_equal(numbers(table.columns["a"]), [np.nan, 3.0])
    assert table.columns["b"].to_pylist() == [None, "x"]
    assert table.columns["c"].to_pylist() == ["None", "y"], "a label may be named so"
    table = table_of(tmp_path, "a,b\n-9,x\n3,?\n", missing=("-9",))
    np.testing.assert_array_equal(numbers(table.columns["a"]), [np.nan, 3.0])
    assert table.columns["b"].to_pylist() == ["x", "?"]


def test_labels_keep_their_zeros(tmp_path: Path) -> None:
    assert table_of(tmp_path, "a,b\n007,1\n7,2\n", "a").columns["a"].to_pylist() == ["007", "7"]


def test_another_encoding(tmp_path: Path) -> None:
    text = "a,b\ncafé,1\n".encode("latin-1")
    assert table_of(tmp_path, text, encoding="latin-1").columns["a"].to_pylist() == ["café"]
    with pytest.raises(InvalidConfig, match=r"is not utf-8 at byte 7; .*--encoding latin-1"):
        table_of(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is empty"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n1,2\n1,2,3\n", "Row #3: Expected 2 columns, got 3"),
        (b"a,a \n1,2\n", "'a': names of columns must be unique"),
        (b"1,2\n3,4\n", "first line must name the columns"),
        (gzip.compress(SMALL.encode() * 99, mtime=0)[:40], "cannot be read"),
        (b"PK\x03\x04 a workbook", "Excel"),
        (b"PAR1 no Parquet", "cannot be read to its end"),
    ],
)
def test_a_bad_file_is_told(content: bytes, rule: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=rule) as error:
        table_of(tmp_path, content)
    assert error.value.source == str(tmp_path / "own.csv")


def test_a_missing_file_and_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="No such file"):
        read_table(tmp_path / "no.csv", ())
    with pytest.raises(InvalidConfig, match=r"rewrad: no such column \(named by --reward\).*'reward'"):
        table_of(tmp_path, "reward,b\n1,2\n").column("rewrad", "--reward")


def mixed(tmp_path: Path) -> Table:
    return read_table(written(tmp_path, log_frame(300)), ("action",))


def test_what_columns_are_taken_for(tmp_path: Path) -> None:
    wish = Wish(leave=("channel,product,revenue,chance",), category=("visits",), most_levels=4)
    reading = read_schema(mixed(tmp_path), ("bought",), wish, ("action",))
    age, missing, segment, active, visits = reading.schema.columns
    assert isinstance(age, Numeric) and isinstance(missing, Flag) and missing.name == "age" + IS_MISSING
    frame = log_frame(300)
    assert age.mean == pytest.approx(frame["age"].mean()) and age.scale == pytest.approx(
        frame["age"].std(ddof=0)
    )
    assert isinstance(segment, Category) and segment.levels == ("mass", "rich", "student", NONE_LEVEL)
    assert isinstance(active, Flag)
    assert isinstance(visits, Category) and visits.levels == ("0", "1", "2", "3", OTHER_LEVEL)
    assert "look like names" in reading.left_out["customer"] and "always 'DE'" in reading.left_out["country"]
    assert not reading.schema.moments


def test_encoding_equals_that_of_single_records(tmp_path: Path) -> None:
    table = mixed(tmp_path)
    schema = read_schema(table, ("action", "bought", "revenue"), Wish(category=("visits",))).schema
    encoded, n = Encoded.of(table, schema), table.n_rows
    parsed = schema.parse(encoded.records(range(n)))
    none, at = np.zeros((n, 1, 2)), np.zeros(n, dtype="datetime64[s]")
    np.testing.assert_array_equal(schema.matrix(parsed, none, at), encoded.matrix())
    np.testing.assert_array_equal(encoded.matrix(slice(7, 9)), encoded.matrix()[7:9])


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    frame = log_frame(300)
    frame["segment"] = frame["segment"].astype("category")
    parquet = read_table(written(tmp_path, frame, "log.parquet"), ("action",))
    wish = Wish(leave=("channel,product,revenue,chance",))
    one, two = (read_schema(table, ("action", "bought"), wish) for table in (mixed(tmp_path), parquet))
    assert one == two
    np.testing.assert_array_equal(
        Encoded.of(mixed(tmp_path), one.schema).matrix(), Encoded.of(parquet, one.schema).matrix()
    )


def test_a_table_without_features_has_an_intercept(tmp_path: Path) -> None:
    table = table_of(tmp_path, "a,r\nx,0\ny,1\n")
    encoded = Encoded.of(table, read_schema(table, ("a", "r"), Wish()).schema)
    np.testing.assert_array_equal(encoded.matrix(), np.ones((2, 1)))


def test_infinite_cells_are_told_with_their_rows(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"a: rows 2 \(1 of 3; .*hold an infinite value"):
        read_schema(table_of(tmp_path, "a,r\n1,0\ninf,1\n2,0\n"), ("r",), Wish())


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        ([1 - 2 * (n % 3 == 0) for n in range(60)], "is always the same for the same"),
        ([0.0 if n % 3 else float(n + 1) for n in range(60)], "is 0 exactly where 0 is"),
        (["" if n % 3 else str(n + 1) for n in range(60)], "is missing exactly where 0 is"),
        (["no" if n % 3 else "yes" for n in range(60)], "is always the same for the same"),
    ],
)
def test_a_column_that_tells_the_reward_is_refused(column: list[object], rule: str, tmp_path: Path) -> None:
    rows = "".join(f"{cell},{1 * (n % 3 == 0)}\n" for n, cell in enumerate(column))
    table = table_of(tmp_path, f"late,reward\n{rows}")
    with pytest.raises(InvalidConfig, match=rf"late: {rule} 'reward', .*--leave-out 'late'.*--force-feature"):
        read_schema(table, ("reward",), Wish())
    assert read_schema(table, ("reward",), Wish(force=("late",))).schema.columns
    assert not read_schema(table, ("reward",), Wish(leave=("late",))).schema.columns


def test_a_column_that_follows_from_the_action_is_refused(tmp_path: Path) -> None:
    table = mixed(tmp_path)
    leave = Wish(leave=("revenue",))
    with pytest.raises(InvalidConfig, match="channel: is always the same for the same 'action'"):
        read_schema(table, ("bought",), leave, ("action",))
    # As a label, the same text may have symptoms of which each belongs to several labels.
    assert "channel" in read_schema(table, ("action", "bought"), leave).kinds


def test_a_long_repeated_number_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"{n + 0.5},{n + 0.5}\n" for n in range(60))
    with pytest.raises(InvalidConfig, match="copy: repeats 'reward'"):
        read_schema(table_of(tmp_path, f"copy,reward\n{rows}"), ("reward",), Wish())
