-- Times are microseconds since 1970 in UTC. The tables are those of SQLite, with three differences: decisions
-- lie in a partition per month, their ids in a small table of their own (a unique key of a partitioned table
-- would have to hold the month), and positions come from `head`, not from sequences.

-- One row. Whoever writes first locks it, so that transactions commit in the order of their positions and a
-- reader that has seen position n will never see a smaller one appear. `epoch` names the writer: an earlier
-- one can no longer commit. `batch` counts commits: a writer that lost its connection while it committed
-- finds out here whether it had.
CREATE TABLE head (
  is_one        BOOLEAN PRIMARY KEY DEFAULT true CHECK (is_one),
  epoch         BIGINT NOT NULL,
  batch         BIGINT NOT NULL,
  decision      BIGINT NOT NULL,
  event         BIGINT NOT NULL
);
INSERT INTO head VALUES (true, 0, 0, 0, 0);

CREATE FUNCTION next_decision() RETURNS BIGINT LANGUAGE sql VOLATILE
  AS 'UPDATE head SET decision = decision + 1 RETURNING decision';
CREATE FUNCTION next_event() RETURNS BIGINT LANGUAGE sql VOLATILE
  AS 'UPDATE head SET event = event + 1 RETURNING event';

-- One row per decision, in the order in which they were committed.
CREATE TABLE decision (
  seq            BIGINT NOT NULL DEFAULT next_decision(),
  decision_id    TEXT NOT NULL,
  request_id     TEXT,
  fingerprint    TEXT NOT NULL,
  customer_id    TEXT NOT NULL,
  at             BIGINT NOT NULL,
  opens_at       BIGINT NOT NULL,   -- when the contact is made: now, or planned for a later day
  channel        TEXT,              -- of rank 1; NULL when nobody was contacted
  product        TEXT,
  watched        TEXT,              -- product whose conversions are waited for; NULL when none is
  policy_version BIGINT NOT NULL,
  posterior_seq  BIGINT NOT NULL,
  feedback_until BIGINT NOT NULL,
  body           BYTEA NOT NULL,    -- JSON: the request, the context as used, the decision
  household      TEXT
) PARTITION BY RANGE (at);

CREATE INDEX decision_seq ON decision (seq);
CREATE INDEX decision_id ON decision (decision_id);
CREATE INDEX decision_request ON decision (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX decision_contacts ON decision (customer_id) WHERE channel IS NOT NULL;
CREATE INDEX decision_posterior ON decision (posterior_seq, seq);
CREATE INDEX decision_household ON decision (household) WHERE household IS NOT NULL;
CREATE INDEX decision_member ON decision (customer_id, seq) WHERE household IS NOT NULL;

-- What makes a decision and a request unique, in whatever month.
CREATE TABLE decision_key (
  decision_id   TEXT PRIMARY KEY,
  request_id    TEXT UNIQUE,
  at            BIGINT NOT NULL
);

CREATE FUNCTION keep_key() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO decision_key VALUES (NEW.decision_id, NEW.request_id, NEW.at);
  ELSE
    UPDATE decision_key SET request_id = NEW.request_id WHERE decision_id = NEW.decision_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER decision_key AFTER INSERT OR UPDATE OF request_id ON decision
  FOR EACH ROW EXECUTE FUNCTION keep_key();

-- What the learner reads: `seq` is the global log position.
CREATE TABLE event (
  seq           BIGINT PRIMARY KEY DEFAULT next_event(),
  kind          TEXT NOT NULL CHECK (kind IN ('feedback', 'exposure')),
  event_id      TEXT NOT NULL,
  decision_id   TEXT NOT NULL,
  customer_id   TEXT,               -- NULL for an orphan
  fingerprint   TEXT NOT NULL,
  outcome       TEXT NOT NULL,
  value         DOUBLE PRECISION NOT NULL,
  product       TEXT,
  channel       TEXT,
  step          BIGINT,             -- of an exposure: which interval, or that the first has passed
  occurred_at   BIGINT NOT NULL,
  received_at   BIGINT NOT NULL,
  status        TEXT NOT NULL CHECK (status IN ('accepted', 'late', 'orphan')),
  teaches       BOOLEAN NOT NULL,   -- false for a conversion that is credited elsewhere or was before
  UNIQUE (kind, event_id)
);

CREATE INDEX event_accepted ON event (seq) WHERE status = 'accepted';
CREATE INDEX event_decision ON event (decision_id);
CREATE INDEX event_customer ON event (customer_id) WHERE outcome IN ('converted', 'opted_out');

-- What is being watched: the next cut of each schedule that has not been logged yet.
CREATE TABLE watch (
  decision_seq  BIGINT PRIMARY KEY,
  customer_id   TEXT NOT NULL,
  product       TEXT NOT NULL,
  step          BIGINT NOT NULL,
  due_at        BIGINT NOT NULL,
  closed_at     BIGINT              -- when a newer contact about the product ended it
);

CREATE INDEX watch_due ON watch (due_at);
CREATE INDEX watch_cell ON watch (customer_id, product);

-- Posteriors with the cursor that belongs to them; the newest valid one starts the learner.
CREATE TABLE snapshot (
  last_seq      BIGINT PRIMARY KEY,
  posterior     BYTEA NOT NULL,
  sha256        TEXT NOT NULL,
  saved_at      BIGINT NOT NULL
);

-- The prices of budgets: what decisions up to `decision_seq` made of them, or what a person set (`planned`).
CREATE TABLE price (
  version       BIGINT PRIMARY KEY,
  decision_seq  BIGINT NOT NULL,
  planned       BOOLEAN NOT NULL,
  state         BYTEA NOT NULL
);

CREATE TABLE meta (
  key           TEXT PRIMARY KEY,
  value         TEXT NOT NULL
);

-- SQLite's words that PostgreSQL lacks: the smaller and the larger of two, NULL where one is.
CREATE FUNCTION min(a BIGINT, b BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE STRICT
  AS 'SELECT least(a, b)';
CREATE FUNCTION max(a BIGINT, b BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE STRICT
  AS 'SELECT greatest(a, b)';
CREATE FUNCTION comma(a TEXT, b TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE
  AS $$ SELECT CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a ELSE a || ',' || b END $$;
CREATE AGGREGATE group_concat(TEXT) (SFUNC = comma, STYPE = TEXT);
