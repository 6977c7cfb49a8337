"""Ask a running service for decisions and tell it what came of them.

nba serve --bundle build/demo/champion --store sqlite:///build/demo/my.sqlite --port 8000
python examples/client.py http://127.0.0.1:8000
"""

import sys

from serving.client import Client, Refused
from serving.wire import Customer, DecisionRequest, Feedback, Placement


def visit(url, customer, channel):
    """Fill two places of a page for a customer who is on `channel`, and report what was shown and sold."""
    with Client(url) as client:
        places = [Placement(name="hero"), Placement(name="side")]
        page = client.decide(
            DecisionRequest(
                customer=customer,
                direction="inbound",
                channels=[channel],
                placements=places,
                defer_activation=True,
                budget_ms=500,
            )
        )
        if page.role == "fallback":
            return page, None
        hero, _ = page.slots
        client.activate(hero.decision_id)  # only the hero was scrolled into view
        if hero.actions[0].channel is None:
            return page, None
        event = f"click-{hero.decision_id}"
        return page, client.report(Feedback(event_id=event, decision_id=hero.decision_id, outcome="engaged"))


if __name__ == "__main__":
    known = {"age": 41, "segment": "family", "stage": "growth", "risk_class": 3, "has_app": True}
    someone = Customer(id="c-17", attributes={**known, "consents": ["app_push"], "owned": []})
    try:
        shown, receipt = visit(sys.argv[1], someone, "app_push")
    except Refused as error:
        sys.exit(str(error))
    for slot in shown.slots:
        print(slot.placement, slot.actions[0].action_id, f"{slot.actions[0].propensity:.3f}")
    print(receipt)
