-- The prices of budgets: what decisions up to `decision_seq` made of them, which follows from the decisions
-- before, or what a person set (`planned`), from which it follows. `state` is JSON: what is used, and prices.
CREATE TABLE price (
  version       INTEGER PRIMARY KEY,
  decision_seq  INTEGER NOT NULL,
  planned       INTEGER NOT NULL,
  state         BLOB NOT NULL
) STRICT
