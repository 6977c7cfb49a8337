-- What is watched is told at a moment inside each interval, no longer at its end: `step` of an event and of
-- a watch says which interval (or that the first has passed: the trial of a contact), and the outcome of an
-- exposure event what it tells: exposure, trial or closed. A store whose log teaches the old way says so.
-- `teaches` of an event is 0 for a conversion that is credited elsewhere or was credited before, and for
-- any other outcome of a decision that was told before.
INSERT INTO meta (key, value) SELECT 'evidence', 'interval ends' WHERE EXISTS (SELECT 1 FROM decision)
