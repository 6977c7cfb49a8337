"""The pages about policies: all policies, models and presets are there, and what they show works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest
from small import bank, open_strategy, small_contexts

import nba.policies
from experiments.spec import StrategySpec
from experiments.tables.presets import load_preset, presets
from nba.policies import Policy
from nba.posteriors import Model
from nba.propensity import Floor
from nba.snapshot import Snapshot

FOLDER = Path(nba.policies.__file__).parent / "pages"
INDEX = FOLDER / "README.md"
PAGES = sorted(set(FOLDER.glob("*.md")) - {INDEX})
HEADINGS = ["Use it when", "Do not use it when", "What it costs", "Paper"]
MOST_LINES, MOST_COLUMNS = 50, 145


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[str]:
    """The TOML blocks of a page."""
    return re.findall(r"^```toml\n(.*?)^```$", text_of(page), flags=re.DOTALL | re.MULTILINE)


def all_blocks() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, block in enumerate(blocks(page)):
            yield f"{page.stem}-{number}", block


BLOCKS = dict(all_blocks())


def spans() -> set[str]:
    """All code spans and quoted words of TOML blocks of all pages."""
    found: set[str] = set()
    for page in PAGES:
        text = text_of(page)
        found |= set(re.findall(r"`([^`\n]+)`", text)) | set(re.findall(r'type = "(\w+)"', text))
    return found


def anchor(heading: str) -> str:
    """What a heading is called in a link, as repositories show it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)}


def test_there_is_a_page_for_every_policy_model_and_preset() -> None:
    tags = {member.__struct_config__.tag for member in (*get_args(Policy), *get_args(Model))}
    named = tags | {preset.name for preset in presets()}
    assert named <= spans(), f"no page names {', '.join(sorted(named - spans()))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_answers_all_questions(page: Path) -> None:
    lines = text_of(page).splitlines()
    assert lines[0].startswith("# ") and lines[2], "a title, then plain words"
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS
    assert blocks(page) and re.search(r"\bp\((a|no-contact)\)", text_of(page)), "TOML and the propensity"
    assert len(lines) <= MOST_LINES and max(map(len, lines)) <= MOST_COLUMNS


def test_the_index_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", text_of(INDEX)))
    assert linked == {page.name for page in PAGES}


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if not link.startswith("https://"):
            name, _, place = link.partition("#")
            target = page.parent / name if name else page
            assert target.is_file(), f"{page.name}: {link}"
            assert not place or place in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_block_is_a_strategy_that_decides(block: str, tmp_path: Path) -> None:
    spec = msgspec.toml.decode(block, type=StrategySpec)
    if spec.rules:  # these name channels and segments of the bank
        assert spec.strategy(bank(), seed=1).rules[-1] == spec.rules[0]
        return
    file = tmp_path / "mine.toml"
    file.write_text(block)
    preset = load_preset(str(file))
    assert (preset.model, preset.policy, preset.floor) == (spec.model, spec.policy, spec.floor)
    strategy = open_strategy(model=spec.model, policy=spec.policy, floor=Floor())
    contexts = strategy.encode(small_contexts(strategy, 5))
    distribution = Snapshot.start(strategy).action_distribution(contexts)
    np.testing.assert_allclose(distribution.sum(axis=1), 1.0, rtol=1e-12)
    assert (distribution >= 0.0).all()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_name_presets_and_their_settings(page: Path) -> None:
    commands = re.findall(r"nba bandit-test [^`\n]+", text_of(page))
    for command in commands:
        changes = re.findall(r"--set (\S+)", command)
        for name in re.findall(r"--policy (\S+)", command):
            assert load_preset(name, changes).name == name
