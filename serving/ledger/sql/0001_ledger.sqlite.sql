-- Times are microseconds since 1970 in UTC.

-- One row per decision, in the order in which they were committed.
CREATE TABLE decision (
  seq            INTEGER PRIMARY KEY AUTOINCREMENT,
  decision_id    TEXT NOT NULL UNIQUE,
  request_id     TEXT,
  fingerprint    TEXT NOT NULL,
  customer_id    TEXT NOT NULL,
  at             INTEGER NOT NULL,
  opens_at       INTEGER NOT NULL,  -- when the contact is made: now, or planned for a later day
  channel        TEXT,              -- of rank 1; NULL when nobody was contacted
  product        TEXT,
  watched        TEXT,              -- product whose conversions are waited for; NULL when none is
  policy_version INTEGER NOT NULL,
  posterior_seq  INTEGER NOT NULL,
  feedback_until INTEGER NOT NULL,
  body           BLOB NOT NULL      -- JSON: the request, the context as used, the decision
) STRICT;

CREATE UNIQUE INDEX decision_request ON decision (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX decision_contacts ON decision (customer_id) WHERE channel IS NOT NULL;
CREATE INDEX decision_posterior ON decision (posterior_seq, seq);

-- What the learner reads: `seq` is the global log position, never a count (numbers may be missing).
CREATE TABLE event (
  seq           INTEGER PRIMARY KEY AUTOINCREMENT,
  kind          TEXT NOT NULL CHECK (kind IN ('feedback', 'exposure')),
  event_id      TEXT NOT NULL,
  decision_id   TEXT NOT NULL,
  customer_id   TEXT,               -- NULL for an orphan
  fingerprint   TEXT NOT NULL,
  outcome       TEXT NOT NULL,
  value         REAL NOT NULL,
  product       TEXT,
  channel       TEXT,
  step          INTEGER,            -- of an exposure: which cut of the schedule has passed
  occurred_at   INTEGER NOT NULL,
  received_at   INTEGER NOT NULL,
  status        TEXT NOT NULL CHECK (status IN ('accepted', 'late', 'orphan')),
  teaches       INTEGER NOT NULL,   -- 0 for a conversion that is credited elsewhere or was credited before
  UNIQUE (kind, event_id)
) STRICT;

CREATE INDEX event_accepted ON event (seq) WHERE status = 'accepted';
CREATE INDEX event_decision ON event (decision_id);
CREATE INDEX event_customer ON event (customer_id) WHERE outcome IN ('converted', 'opted_out');

-- What is being watched: the next cut of each schedule that has not been logged yet.
CREATE TABLE watch (
  decision_seq  INTEGER PRIMARY KEY REFERENCES decision (seq),
  customer_id   TEXT NOT NULL,
  product       TEXT NOT NULL,
  step          INTEGER NOT NULL,
  due_at        INTEGER NOT NULL,
  closed_at     INTEGER             -- when a newer contact about the product ended it
) STRICT;

CREATE INDEX watch_due ON watch (due_at);
CREATE INDEX watch_cell ON watch (customer_id, product);

-- Posteriors with the cursor that belongs to them; the newest valid one starts the learner.
CREATE TABLE snapshot (
  last_seq      INTEGER PRIMARY KEY,
  posterior     BLOB NOT NULL,
  sha256        TEXT NOT NULL,
  saved_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
  key           TEXT PRIMARY KEY,
  value         TEXT NOT NULL
) STRICT;
