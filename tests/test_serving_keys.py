from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from serving_fixtures import Clock, service
from typer.testing import CliRunner

from nba.errors import InvalidConfig
from serving.keys import KeyRing, add_key, hash_key, load_keys, revoke_key
from serving.keys_command import app as keys_app
from serving.settings import Settings


def keys_file(folder: Path, *lines: str) -> Path:
    path = folder / "keys"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_keys_are_rotated_without_a_pause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now, path = [0.0], tmp_path / "keys"
    old = add_key(path, "decide, feedback", 50.0, "2030-01-31", "the branch")
    assert path.stat().st_mode & 0o777 == 0o600 and old not in path.read_text()
    ring = KeyRing(path, lambda: now[0])
    young = add_key(path, "decide,feedback", None, None, "")
    assert [key.digest for key in ring.keys()] == [hash_key(old)]  # not looked yet
    now[0] = 1.0
    assert [key.digest for key in ring.keys()] == [hash_key(old), hash_key(young)]
    assert ring.keys()[0].rate == 50.0 and ring.keys()[0].until == datetime(2030, 1, 31, tzinfo=UTC)
    assert revoke_key(path, hash_key(old)[:8]) == hash_key(old)
    now[0] = 2.0
    assert [key.digest for key in ring.keys()] == [hash_key(young)]
    path.write_text("nonsense\n")
    now[0] = 3.0
    assert [key.digest for key in ring.keys()] == [hash_key(young)]
    assert "the keys of before stay valid" in caplog.text
    path.unlink()
    now[0] = 4.0
    assert len(ring.keys()) == 1


def test_a_key_ends_with_its_last_day(tmp_path: Path) -> None:
    async def check() -> None:
        clock, path = Clock(), tmp_path / "keys"
        key = add_key(path, "read", None, f"{clock.now.date()}", "")
        clock.forward(days=-1)
        async with service(tmp_path, keys_file=path, clock=clock) as client:
            headers = {"x-api-key": key}
            assert (await client.get("/v1/learner", headers=headers)).status_code == 200
            clock.forward(days=1)
            answer = await client.get("/v1/learner", headers=headers)
            assert answer.status_code == 401 and "was valid until" in answer.json()["detail"]

    asyncio.run(check())


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ("rate=0", "rate: must be requests a second"),
        ("rate=fast", "rate: must be requests a second"),
        ("until=soon", "until: must be a day"),
        ("speed=3", "speed: is no term"),
        ("rate", "a line must read"),
    ],
)
def test_terms_of_a_key_that_mean_nothing_are_refused(tmp_path: Path, terms: str, rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        load_keys(keys_file(tmp_path, f"{hash_key('a')} decide {terms}"))


def test_what_cannot_be_revoked_or_made_is_refused(tmp_path: Path) -> None:
    path = keys_file(tmp_path, f"{hash_key('a')} decide", f"{hash_key('a')} read")
    with pytest.raises(InvalidConfig, match="stands on two lines"):
        load_keys(path)
    path = keys_file(tmp_path, f"{hash_key('a')} decide")
    for start in (hash_key("a")[:5], "000000"):
        with pytest.raises(InvalidConfig, match="at least 6 digits"):
            revoke_key(path, start)
    with pytest.raises(InvalidConfig, match="unknown scope 'fly'"):
        add_key(path, "fly", None, None, "")
    assert [key.digest for key in load_keys(path)] == [hash_key("a")]
    with pytest.raises(InvalidConfig, match="requests_per_second: must be > 0"):
        Settings(bundle=tmp_path, store="sqlite:///log.db", requests_per_second=0.0)


def test_the_commands_make_list_and_revoke(tmp_path: Path) -> None:
    def ran(*words: str) -> Result:
        result = CliRunner().invoke(keys_app, [words[0], "--keys-file", str(tmp_path / "keys"), *words[1:]])
        assert result.exit_code == 0, result.output
        return result

    made = json.loads(ran("new", "--scopes", "read", "--rate", "5", "--note", "crm # 7\n", "--json").stdout)
    assert made["digest"] == hash_key(made["key"])
    assert json.loads(ran("list", "--json").stdout)[0]["scopes"] == ["read"]
    plain = ran("new", "--scopes", "admin").stdout.strip()
    assert ran("list").stdout.splitlines()[0] == f"{made['digest'][:12]} read rate=5"
    assert ran("revoke", "--digest", made["digest"][:6]).stdout == f"revoked {made['digest']}\n"
    assert [key.digest for key in load_keys(tmp_path / "keys")] == [hash_key(plain)]
