-- The household that a customer was decided for with: limits may be over all of its members.
ALTER TABLE decision ADD COLUMN household TEXT;

CREATE INDEX decision_household ON decision (household) WHERE household IS NOT NULL;
CREATE INDEX decision_member ON decision (customer_id, seq) WHERE household IS NOT NULL;
