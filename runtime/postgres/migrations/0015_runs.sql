-- Runs (docs/adr/0019): an execution that goes on is its pending row, and one that has ended a row of this table, written
-- by the commit that deletes the pending one. So each is in exactly one of the two, and plain commands write neither.

-- NULL for what is no execution; when it is ended for having waited or run too long.
ALTER TABLE pending ADD COLUMN tags text[], ADD COLUMN expires_at timestamptz;
UPDATE pending p SET tags = '{}' FROM kinds k
WHERE k.kind = p.kind AND EXISTS (SELECT FROM json_array_elements(k.capability -> 'methods') m
                                  WHERE m ->> 'name' = p.method AND m ->> 'flavor' = 'execution');
CREATE INDEX pending_runs ON pending (tenant, since, actor, command_id) WHERE tags IS NOT NULL;

CREATE TABLE runs (
    actor        uuid NOT NULL,
    command_id   text COLLATE "C" NOT NULL,
    tenant       text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    method       text COLLATE "C" NOT NULL,
    digest       int NOT NULL,
    status       text NOT NULL CHECK (status IN ('completed', 'rejected', 'failed', 'parked', 'cancelled', 'terminated',
                                                 'timed_out')),
    attempts     int NOT NULL,
    tags         text[] NOT NULL,
    seq          bigint NOT NULL,
    code         text,
    error        text,
    since        timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL DEFAULT now(),
    content_type text,
    body         bytea,                        -- the arguments, for forks; NULL when they are large
    PRIMARY KEY (command_id, actor)
);
CREATE INDEX runs_since ON runs (tenant, since, actor, command_id);
CREATE INDEX runs_ended ON runs (ended_at);
CREATE INDEX runs_failed ON runs (tenant, since, actor, command_id) WHERE status <> 'completed';
CREATE INDEX runs_tags ON runs USING gin (tags) WHERE tags <> '{}';

-- The state of one that goes on. What waits and has a time has begun, and is suspended, unless it was to begin then.
CREATE FUNCTION run_state(state text, due_at timestamptz, headers text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN state <> 'waiting' THEN state WHEN due_at IS NULL THEN 'queued'
                WHEN strpos(headers, '"Troupe-Start-At"') > 0
                     AND abs(extract(epoch FROM due_at) * 1000 - (headers::json ->> 'Troupe-Start-At')::numeric) < 2
                THEN 'queued' ELSE 'suspended' END
$$;

-- What becomes of a run beside its steps and what it is told.
CREATE INDEX events_ends ON events (actor, command_id, seq)
    WHERE type IN ('troupe.attempt', 'troupe.terminate', 'troupe.parked', 'troupe.replayed', 'troupe.dropped');

GRANT SELECT, INSERT, UPDATE, DELETE ON runs TO troupe_pod;
GRANT SELECT ON runs TO troupe_reader;
GRANT SELECT (lane, actor, command_id, tenant, kind, key, method, digest, state, holds, attempts, due_at, error, since, tags,
              expires_at, body, headers, ord)
    ON pending TO troupe_reader;
ALTER TABLE runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE runs FORCE ROW LEVEL SECURITY;
CREATE POLICY pod ON runs TO troupe_pod USING (true) WITH CHECK (true);
CREATE POLICY reader ON runs FOR SELECT TO troupe_reader USING (tenant = current_setting('troupe.tenant', true));
CREATE POLICY reader ON pending FOR SELECT TO troupe_reader USING (tenant = current_setting('troupe.tenant', true));
