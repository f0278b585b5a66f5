-- When a pod was last heard of: others stand in for one that has fallen silent, before its lease is over.

ALTER TABLE pods ADD COLUMN beat_at timestamptz NOT NULL DEFAULT clock_timestamp();
