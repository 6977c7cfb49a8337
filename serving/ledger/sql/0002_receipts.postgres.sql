-- Every row of the log has a receipt, in the order of the writes: `content` commits to the row under a random
-- `salt`, and `digest` = SHA-256 of the digest before, the entry's own position, kind and row, and `content`.
-- A row that is erased gets a new receipt; the salt of the old one is destroyed, so that nobody can find out
-- by guessing what the row said. A column that is added later must be NULL in the rows of before.
CREATE TABLE receipt (
  seq     BIGINT PRIMARY KEY,
  kind    TEXT NOT NULL CHECK (kind IN ('decision', 'event', 'price', 'admin')),
  row     BIGINT NOT NULL,
  salt    BYTEA,
  content BYTEA NOT NULL,
  digest  BYTEA NOT NULL
);

CREATE INDEX receipt_row ON receipt (kind, row);

ALTER TABLE head ADD COLUMN admin BIGINT NOT NULL DEFAULT 0;
CREATE FUNCTION next_admin() RETURNS BIGINT LANGUAGE sql VOLATILE
  AS 'UPDATE head SET admin = admin + 1 RETURNING admin';

-- What administrators did; `detail` is JSON without personal data.
CREATE TABLE admin (
  seq    BIGINT PRIMARY KEY DEFAULT next_admin(),
  at     BIGINT NOT NULL,
  actor  TEXT NOT NULL,
  what   TEXT NOT NULL,
  detail TEXT NOT NULL
);

-- Channels that customers closed who were erased since: by keyed digest of their ids; NULL is every channel.
CREATE TABLE objection (
  digest  TEXT NOT NULL,
  channel TEXT
);

CREATE INDEX objection_digest ON objection (digest);

-- All decisions of a customer are asked for, no longer the contacts alone.
DROP INDEX decision_contacts;
CREATE INDEX decision_customer ON decision (customer_id);
