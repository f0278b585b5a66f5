-- When a message was written to the outbox: the answers that it may still be repeated to are kept at least as long.

ALTER TABLE outbox ADD COLUMN at timestamptz NOT NULL DEFAULT now();
