-- Products that customers bought in decisions that are forgotten for their age: by keyed digest of their ids.
CREATE TABLE purchase (
  digest  TEXT NOT NULL,
  product TEXT NOT NULL,
  PRIMARY KEY (digest, product)
) STRICT, WITHOUT ROWID;
