from __future__ import annotations

import asyncio
from pathlib import Path

from serving_fixtures import SURE, Clock, caught_up, contacted, service


def test_a_conversion_is_credited_once_and_to_the_newer_contact(tmp_path: Path) -> None:
    async def check() -> None:
        clock = Clock()
        async with service(tmp_path, clock=clock, strategy=SURE) as client:
            older = await contacted(client, candidates=["card"])
            clock.forward(seconds=1)
            newer = await contacted(client, candidates=["card"])
            loan = await contacted(client, "c2", candidates=["loan"])
            before = (await client.get("/v1/learner")).json()["posterior_sha256"]
            # The older contact has lost its product, a loan is bought once, a card may be bought again.
            expected = {
                ("older", 0): False,
                ("loan", 0): True,
                ("loan", 1): False,
                ("card", 0): True,
                ("card", 1): True,
            }
            ids = {"older": older, "loan": loan, "card": newer}
            for (name, number), is_taught in expected.items():
                body = {
                    "event_id": f"{name}{number}",
                    "decision_id": ids[name]["decision_id"],
                    "outcome": "converted",
                }
                receipt = (await client.post("/v1/feedback", json=body)).json()
                assert receipt["status"] == "accepted"
                seq = receipt["seq"]
                after = (await caught_up(client, seq))["posterior_sha256"]
                assert (after != before) == is_taught, (name, number)
                before = after

    asyncio.run(check())
