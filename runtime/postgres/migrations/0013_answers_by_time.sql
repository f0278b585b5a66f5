-- Housekeeping looks for what is older than the window every few seconds. By ranges of pages it read the whole table: to
-- the planner a third of any table may be older than a time it does not know, and ranges whose room is used again hold
-- old and new. What is written grows in time, so that this order costs one page at its end.
DROP INDEX inbox_at;
CREATE INDEX inbox_at ON inbox (at);
DROP INDEX refused_at;
CREATE INDEX refused_at ON refused (at);
