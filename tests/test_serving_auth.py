from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from serving_fixtures import customer, rows_in, service

from nba.errors import InvalidConfig
from serving.keys import hash_key, load_keys
from serving.settings import Settings

KEYS = {"asks": "decide", "tells": "feedback", "looks": "read", "runs": "admin", "both": "decide, feedback"}


def keys_file(folder: Path, text: str | None = None) -> Path:
    lines = [f"{hash_key(key)} {scopes}  # {key}" for key, scopes in KEYS.items()]
    path = folder / "keys"
    path.write_text("# who may do what\n\n" + "\n".join(lines) if text is None else text, encoding="utf-8")
    return path


def test_keys_open_what_their_scopes_say(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, keys_file=keys_file(tmp_path), host="0.0.0.0") as client:
            requests = {
                "decide": ("POST", "/v1/decisions", {"customer": customer()}),
                "feedback": ("POST", "/v1/feedback", {}),
                "read": ("GET", "/v1/learner", None),
            }
            for key, scopes in KEYS.items():
                for scope, (method, path, body) in requests.items():
                    answer = await client.request(method, path, json=body, headers={"x-api-key": key})
                    allowed = scope in scopes or scopes == "admin"
                    assert (answer.status_code != 403) == allowed, (key, scope, answer.text)
            for path in ("/v1/decisions/x", "/metrics", "/v1/learner"):
                assert (await client.get(path, headers={"authorization": "Bearer asks"})).status_code == 403
                assert (await client.get(path, headers={"authorization": "bearer looks"})).status_code != 403
            for path in ("/livez", "/readyz", "/docs", "/schema/openapi.json"):
                assert (await client.get(path)).status_code == 200

    asyncio.run(check())


def test_without_a_known_key_nothing_is_done(tmp_path: Path) -> None:
    async def check() -> None:
        async with service(tmp_path, keys_file=keys_file(tmp_path)) as client:
            body = {"customer": customer()}
            for headers in (
                {},
                {"x-api-key": ""},
                {"x-api-key": "wrong"},
                {"x-api-key": hash_key("asks")},  # what the file holds opens nothing
                {"authorization": "Basic asks"},
                {"authorization": "Bearer "},
                {"x-api-key": "né"},
            ):
                encoded = {name: value.encode() for name, value in headers.items()}
                answer = await client.post("/v1/decisions", json=body, headers=encoded)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert answer.json()["type"] == "urn:nba:error:unauthorized"
            assert rows_in(tmp_path) == 0

    asyncio.run(check())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "holds no key"),
        ("# nothing\n", "holds no key"),
        ("secret decide\n", "64 hex digits"),
        (f"{hash_key('a')}\n", "64 hex digits"),
        (f"{hash_key('a')} decide, fly\n", "unknown scope 'fly'"),
    ],
)
def test_a_bad_keys_file_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(InvalidConfig, match=rule):
        load_keys(keys_file(tmp_path, text))


def test_a_missing_keys_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        load_keys(tmp_path / "none")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", ""])
def test_without_keys_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidConfig, match="without --keys-file"):
        Settings(bundle=tmp_path, store="sqlite:///log.db", host=host)
    for fine in ("127.0.0.1", "::1", "localhost"):
        Settings(bundle=tmp_path, store="sqlite:///log.db", host=fine)
