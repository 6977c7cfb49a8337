"""Records to columns to a matrix: encodings, what is missing, what is refused and where."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from small import NOW, open_strategy, small_contexts, small_schema, small_strategy

from nba.constraints import ContactLimit, ContactPolicy
from nba.context import Contact, Context
from nba.errors import BadContext, InvalidConfig, NBAError, ShapeMismatch
from nba.features import Category, FeatureSchema, Flag, Numeric

KNOWN: dict[str, Any] = {"age": 57.0, "has_app": True, "segment": "affluent", "consents": ["mail"]}


def encode(attributes: dict[str, Any], **changes: Any) -> Any:
    record = Context(**{"customer_id": "c", "at": NOW, "attributes": attributes} | changes)
    return small_strategy().encode([record])


def column(batch: Any, label: str) -> float:
    return float(batch.features[0, small_schema().labels.index(label)])


def test_labels_name_the_columns_of_the_model_in_order() -> None:
    assert small_schema().labels == (
        "intercept",
        "age",
        "has_app",
        "segment=mass",
        "segment=affluent",
        "fatigue_short",
        "fatigue_long",
        "weekend",
    )
    assert small_schema().segments == ("mass", "affluent")
    assert small_schema().segment_columns.tolist() == [3, 4]


def test_a_known_customer_is_encoded_by_hand() -> None:
    batch = encode(KNOWN)
    np.testing.assert_allclose(batch.features, [[1, 1.0, 1, 0, 1, 0, 0, 0]])
    assert batch.attributes["segment"].tolist() == [1.0]
    assert batch.consents.tolist() == [[False, True]]
    assert not batch.owned.any()


def test_a_missing_attribute_is_the_mean_false_or_no_level() -> None:
    batch = encode({})
    np.testing.assert_allclose(batch.features, [[1, 0, 0, 0, 0, 0, 0, 0]])
    assert batch.attributes["segment"].tolist() == [-1.0]
    assert np.isnan(batch.attributes["age"]).all()  # rules see that it is missing, and fail closed
    assert not batch.consents.any(), "no recorded consent means no contact"


@pytest.mark.parametrize(("age", "encoded"), [(45 + 12 * 9.0, 4.0), (-1e9, -4.0), (33, -1.0)])
def test_numbers_are_standardised_and_clipped(age: float, encoded: float) -> None:
    assert column(encode(KNOWN | {"age": age}), "age") == encoded


@pytest.mark.parametrize(
    ("day", "weekend"), [(6, 0.0), (7, 1.0), (8, 1.0), (9, 0.0)], ids=["fri", "sat", "sun", "mon"]
)
def test_weekend_is_saturday_and_sunday_in_utc(day: int, weekend: float) -> None:
    assert column(encode(KNOWN, at=datetime(2026, 3, day, 12, tzinfo=UTC)), "weekend") == weekend


def test_times_are_converted_to_utc() -> None:
    # Saturday 02:00 in a zone five hours ahead is still Friday in UTC.
    ahead = datetime(2026, 3, 7, 2, tzinfo=timezone(timedelta(hours=5)))
    assert column(encode(KNOWN, at=ahead), "weekend") == 0.0


@pytest.mark.parametrize(
    ("attributes", "pointer"),
    [
        ({"age": "5"}, "/age"),
        ({"age": True}, "/age"),
        ({"age": float("nan")}, "/age"),
        ({"age": float("-inf")}, "/age"),
        ({"age": [1.0]}, "/age"),
        ({"has_app": 1}, "/has_app"),
        ({"has_app": "yes"}, "/has_app"),
        ({"segment": "rich"}, "/segment"),
        ({"segment": 0}, "/segment"),
        ({"shoe_size": 42}, "/shoe_size"),
        ({"consents": "mail"}, "/consents"),
        ({"consents": ["mail", "fax"]}, "/consents/1"),
        ({"owned": ["card", "deposit", "car"]}, "/owned/2"),
    ],
)
def test_a_wrong_attribute_is_named_by_its_pointer(attributes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(BadContext) as caught:
        encode(KNOWN | attributes)
    assert caught.value.pointer == pointer
    assert pickle.loads(pickle.dumps(caught.value)).pointer == pointer


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(BadContext):
        encode(KNOWN | {"age": 10**400})


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(BadContext) as caught:
        encode(KNOWN, at=datetime(2026, 3, 4))
    assert caught.value.pointer == "/at"


@pytest.mark.parametrize("part", ["contacts", "opted_out"])
def test_a_channel_unknown_to_the_catalogue_is_an_error_of_ours(part: str) -> None:
    values = {"contacts": (Contact(channel="fax", product="card", at=NOW),), "opted_out": ("fax",)}
    with pytest.raises(NBAError, match="fax"):
        encode(KNOWN, **{part: values[part]})


def test_an_opt_out_overrules_a_consent() -> None:
    batch = encode(KNOWN | {"consents": ["call", "mail"]}, opted_out=("call",))
    assert batch.consents.tolist() == [[False, True]]


def test_history_is_counted_in_sliding_windows() -> None:
    strategy = small_strategy(
        contact_policy=ContactPolicy(
            limits=(ContactLimit(contacts=9, days=7), ContactLimit(contacts=9, days=2))
        )
    )
    ages = (("mail", "card", 0.5), ("mail", "card", 1.99), ("call", "fund", 2.0), ("mail", "fund", 7.0))
    contacts = tuple(Contact(channel=c, product=p, at=NOW - timedelta(days=d)) for c, p, d in ages)
    batch = strategy.encode([Context(customer_id="c", at=NOW, attributes={}, contacts=contacts)])
    assert strategy.contact_policy.windows_days == (2, 7)
    # Columns: call, mail, all. A contact exactly 7 days ago has left the window of 7 days.
    assert batch.contact_counts[0].tolist() == [[0, 2, 2], [1, 2, 3]]
    np.testing.assert_allclose(batch.offer_age_days[0], [np.inf, 0.5, 2.0])


def test_fatigue_halves_and_spills_to_other_channels() -> None:
    contact = Contact(channel="call", product="card", at=NOW - timedelta(days=2))
    batch = encode(KNOWN, contacts=(contact,))
    short, long = 0.5, 2.0 ** (-2 / 15)
    np.testing.assert_allclose(batch.fatigue[0], [[short, long], [0.1 * short, 0.1 * long]])
    assert column(batch, "fatigue_long") == pytest.approx(np.log1p(1.1 * long))


def test_encoding_alone_equals_encoding_together() -> None:
    strategy = open_strategy()
    contexts = small_contexts(strategy, 20)
    together = strategy.encode(contexts)
    for number, context in enumerate(contexts):
        alone = strategy.encode([context])
        for name in ("features", "fatigue", "contact_counts", "owned", "offer_age_days", "consents"):
            got, want = getattr(alone, name)[0], getattr(together, name)[number]
            np.testing.assert_array_equal(got, want, err_msg=name)


def test_taking_rows_takes_every_column() -> None:
    strategy = small_strategy()
    contexts = small_contexts(strategy, 10)
    gone = next(row for row, context in enumerate(contexts) if context.opted_out)
    taken = strategy.encode(contexts).take(np.array([7, 2, gone]))
    again = strategy.encode([contexts[7], contexts[2], contexts[gone]])
    for name, part in taken._asdict().items():
        if name == "attributes":
            for key, values in part.items():
                np.testing.assert_array_equal(values, again.attributes[key])
        else:
            np.testing.assert_array_equal(part, getattr(again, name), err_msg=name)


@pytest.mark.parametrize(
    ("columns", "segment", "pointer"),
    [
        ((Flag(name="a"), Flag(name="a")), "a", "columns"),
        ((Flag(name="owned"),), "owned", "columns"),
        ((Numeric(name="a", scale=0.0),), "a", "columns[0].scale"),
        ((Flag(name="a"),), "a", "segment"),
        ((Category(name="a", levels=("x",), in_model=False),), "a", "segment"),
    ],
)
def test_a_broken_schema_names_the_place(columns: Any, segment: str, pointer: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        FeatureSchema(columns=columns, segment=segment)
    assert caught.value.pointer == pointer


def test_fatigue_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="fatigue"):
        small_schema().matrix({}, np.zeros((2, 1, 3)), np.zeros(2, dtype="datetime64[s]"))


def test_pickling_a_schema_or_strategy_leaves_no_trace_of_what_was_cached() -> None:
    strategy = small_strategy()
    plain = len(pickle.dumps(strategy.schema))
    strategy.encode(small_contexts(strategy, 3))
    assert len(pickle.dumps(strategy.schema)) == plain
    again = pickle.loads(pickle.dumps(strategy))
    assert again == strategy and again.schema.labels == strategy.schema.labels
    contexts = small_contexts(strategy, 5)
    np.testing.assert_array_equal(again.encode(contexts).features, strategy.encode(contexts).features)
