"""Conditions: three values by hand, random trees against plain Python, and what is refused and where."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from small import NOW, product, small_catalogue, small_schema, small_strategy

from nba.catalogue import Group
from nba.conditions import Condition, Tag, Vocabulary
from nba.constraints import OnlyIf
from nba.context import Context
from nba.errors import InvalidConfig

TAGS = (
    Tag(name="silver", when=Condition(attribute="age", at_least=60)),
    Tag(name="calm", when=Condition(not_=Condition(tag="silver"))),
)


def words(**parts: Any) -> Condition:
    """A condition as it is written in TOML."""
    return msgspec.convert(parts, Condition)


def answers(condition: Condition, **attributes: Any) -> bool | None:
    """True, False, or None where it is not known."""
    strategy = small_strategy(catalogue=grouped(), tags=TAGS)
    contexts = strategy.encode([Context(customer_id="c", at=NOW, attributes=attributes)])
    verdict = condition.bound(strategy.rulebook.known)(contexts)
    assert not (verdict.holds & verdict.fails).any()
    return True if verdict.holds[0] else False if verdict.fails[0] else None


def grouped() -> Any:
    return small_catalogue(
        products=(
            product("deposit", group="saving", tags=("safe",)),
            product("card", group="lending", repeatable=True),
            product("fund", group="saving", risk_class=4),
        ),
        groups=(Group(name="saving", goal="grow"), Group(name="lending", goal="earn")),
    )


@pytest.mark.parametrize(
    ("parts", "attributes", "expected"),
    [
        ({"attribute": "age", "at_least": 18}, {"age": 18}, True),
        ({"attribute": "age", "above": 18}, {"age": 18}, False),
        ({"attribute": "age", "at_most": 18}, {"age": 18}, True),
        ({"attribute": "age", "below": 18}, {"age": 18}, False),
        ({"attribute": "age", "at_least": 18, "below": 75}, {"age": 75}, False),
        ({"attribute": "age", "at_least": 18}, {}, None),
        ({"attribute": "age", "known": False}, {}, True),
        ({"attribute": "has_app", "is": True}, {"has_app": True}, True),
        ({"attribute": "has_app", "is": False}, {"has_app": True}, False),
        ({"attribute": "has_app", "is": False}, {}, None),
        ({"attribute": "segment", "one_of": ["mass"]}, {"segment": "mass"}, True),
        ({"attribute": "segment", "none_of": ["mass"]}, {"segment": "mass"}, False),
        ({"attribute": "segment", "none_of": ["mass"]}, {}, None),
        ({"attribute": "segment", "known": True}, {}, False),
        ({"tag": "silver"}, {"age": 60}, True),
        ({"tag": "silver", "is": False}, {"age": 60}, False),
        ({"tag": "calm"}, {"age": 59}, True),
        ({"tag": "calm"}, {}, None),
        ({"owns": "card"}, {"owned": ["card"]}, True),
        ({"owns": "saving"}, {"owned": ["fund"]}, True),
        ({"owns": "safe"}, {"owned": ["fund"]}, False),
        ({"owns": "card", "is": False}, {}, True),
    ],
    ids=str,
)  # fmt: skip
def test_a_condition_holds_fails_or_is_not_known(
    parts: dict[str, Any], attributes: dict[str, Any], expected: bool | None
) -> None:
    assert answers(words(**parts), **attributes) is expected


LEAVES = {
    True: {"attribute": "age", "at_least": 18},
    False: {"attribute": "age", "below": 18},
    None: {"attribute": "risk_class", "at_least": 2},
}


@pytest.mark.parametrize("one", LEAVES, ids=str)
@pytest.mark.parametrize("other", LEAVES, ids=str)
def test_and_or_and_not_are_those_of_kleene(one: bool | None, other: bool | None) -> None:
    parts = [LEAVES[one], LEAVES[other]]
    worst = False if False in (one, other) else None if None in (one, other) else True
    best = True if True in (one, other) else None if None in (one, other) else False
    assert answers(words(all_of=parts), age=40) is worst
    assert answers(words(any_of=parts), age=40) is best
    assert answers(words(**{"not": LEAVES[one]}), age=40) is (None if one is None else not one)


def test_the_words_of_a_condition_say_it() -> None:
    adult = {"attribute": "age", "at_least": 18, "below": 75}
    either = {"any_of": [{"tag": "silver", "is": False}, {"attribute": "segment", "one_of": ["mass"]}]}
    condition = words(all_of=[adult, either, {"not": {"owns": "card"}}])
    expected = "age >= 18 and age < 75 and (not silver or segment in mass) and not (owns card)"
    assert condition.text == expected
    vocabulary = Vocabulary.of(grouped(), small_schema(), TAGS)
    assert condition.asked(vocabulary) == ("age", "segment", "owned")


@pytest.mark.parametrize(
    ("parts", "pointer", "told"),
    [
        ({}, "", "exactly one of"),
        ({"attribute": "age", "tag": "silver", "at_least": 1}, "", "got attribute, tag"),
        ({"attribute": "age"}, "attribute", "needs a test"),
        ({"attribute": "age", "known": True, "at_least": 1}, "known", "no other test"),
        ({"tag": "silver", "at_least": 1}, "at_least", "does not go with tag"),
        ({"all_of": []}, "all_of", "at least one"),
        ({"any_of": [{"tag": "silver"}], "is": True}, "is", "no test"),
        ({"attribute": "age", "at_least": float("nan")}, "at_least", "nothing compares with it"),
        ({"attribute": "age", "at_least": 70, "at_most": 25}, "at_most", "at_least is 70 and at_most is 25"),
        ({"attribute": "age", "above": 25, "at_most": 25}, "at_most", "leaves no number"),
        ({"attribute": "segment", "one_of": []}, "one_of", "at least one level"),
        ({"attribute": "segment", "none_of": []}, "none_of", "at least one level"),
    ],
    ids=str,
)
def test_a_condition_that_says_nothing_is_refused(parts: dict[str, Any], pointer: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told) as caught:
        Condition(**{{"is": "is_"}.get(name, name): _decoded(value) for name, value in parts.items()})
    assert caught.value.pointer == pointer


def _decoded(value: Any) -> Any:
    return tuple(words(**part) for part in value) if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("parts", "place", "told"),
    [
        ({"attribute": "height", "at_least": 1}, "attribute", "'height' is not declared.*it knows age"),
        ({"attribute": "has_app", "at_least": 1}, "at_least", "a flag attribute, which takes is, known"),
        ({"attribute": "age", "one_of": ["old"]}, "one_of", "a numeric attribute"),
        ({"attribute": "segment", "one_of": ["rich"]}, "one_of", "no level of 'segment'.*mass, affluent"),
        ({"tag": "golden"}, "tag", "no tag declared before; use one of: silver, calm"),
        ({"owns": "yacht"}, "owns", "no product, group or tag"),
        ({"all_of": [{"tag": "calm"}, {"not": {"tag": "x"}}]}, "all_of[1].not.tag", "'x' is no tag"),
    ],
    ids=str,
)
def test_an_unknown_name_is_refused_at_its_place(parts: dict[str, Any], place: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match=told) as caught:
        small_strategy(tags=TAGS, rules=(OnlyIf(when=words(**parts)),))
    assert caught.value.pointer == f"rules[0].when.{place}" and caught.value.source == "strategy small"


def test_a_tag_speaks_of_tags_before_it_and_is_there_once() -> None:
    with pytest.raises(InvalidConfig, match="no tag declared before") as caught:
        small_strategy(tags=TAGS[::-1])
    assert caught.value.pointer == "tags[0].when.not.tag"
    with pytest.raises(InvalidConfig, match="'silver' again") as caught:
        small_strategy(tags=(TAGS[0], TAGS[0]))
    assert caught.value.pointer == "tags[1].name"


def test_a_condition_is_asked_of_everybody_at_once() -> None:
    strategy = small_strategy(tags=TAGS)
    records = [{"age": 17.0}, {"age": 60.0}, {}, {"age": 61.0, "has_app": True}]
    contexts = strategy.encode([Context(customer_id="c", at=NOW, attributes=one) for one in records])
    condition = words(all_of=[{"tag": "silver"}, {"attribute": "has_app", "is": True}])
    verdict = condition.bound(strategy.rulebook.known)(contexts)
    np.testing.assert_array_equal(verdict.holds, [False, False, False, True])
    np.testing.assert_array_equal(verdict.fails, [True, False, False, False])
