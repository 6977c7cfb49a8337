"""The columns of a leaderboard for people: heading, format and meaning of each field."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column; `form` is a format for str.format."""

    field: str
    heading: str
    form: str
    meaning: str


COLUMNS = (
    Column(
        "net_value_per_customer",
        "net value",
        "{:.2f}",
        "What all conversions bring in, also those that needed no contact, minus contact costs and the "
        "modelled losses by opt-outs and complaints; account currency per evaluation customer.",
    ),
    Column(
        "incremental_value",
        "incremental",
        "{:+.2f}",
        "Net value above no contact on the same customers with the same noise.",
    ),
    Column(
        "incremental_ci_low",
        "95 % low",
        "{:+.2f}",
        "Lower end of the 95 % interval of the incremental value.",
    ),
    Column(
        "incremental_ci_high",
        "95 % high",
        "{:+.2f}",
        "Upper end of the 95 % interval of the incremental value.",
    ),
    Column("contacts_per_customer", "contacts", "{:.2f}", "Contacts per customer over the evaluation."),
    Column(
        "conversions_per_customer",
        "conversions",
        "{:.3f}",
        "Conversions per customer, those that needed no contact among them.",
    ),
    Column(
        "opt_out_rate",
        "opt-outs",
        "{:.3f}",
        "Opt-outs per customer: consents for a channel withdrawn after a contact.",
    ),
    Column("complaints_per_1k", "complaints", "{:.1f}", "Complaints per 1,000 customers."),
    Column("cost_per_customer", "cost", "{:.2f}", "Contact costs per customer."),
    Column(
        "regret",
        "regret",
        "{:.1%}",
        "Share of the value of the best allowed action, summed over all decisions, that the strategy's own "
        "choices missed. That oracle knows every customer's response rates but does not plan ahead.",
    ),
    Column(
        "value_without_modelled_losses",
        "before losses",
        "{:.2f}",
        "Net value without the modelled losses: what it would be if opt-outs and complaints cost nothing.",
    ),
)
