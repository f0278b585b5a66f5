-- The log and everything that is committed with it. All of it lives in the schema "troupe".
-- Texts that are compared or ordered use the "C" collation: the order of bytes, the same on every machine.

CREATE TABLE settings (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO settings VALUES ('log_id', gen_random_uuid()::text);

-- Ownership ---------------------------------------------------------------------------------------------------------

CREATE TABLE groups (
    name       text COLLATE "C" PRIMARY KEY,
    ordinal    int GENERATED ALWAYS AS IDENTITY (START WITH 0 MINVALUE 0) UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE kinds (
    kind          text COLLATE "C" PRIMARY KEY,
    group_name    text COLLATE "C" NOT NULL REFERENCES groups,
    code_version  text NOT NULL,
    capability    json NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pods (
    id           text COLLATE "C" PRIMARY KEY,
    group_name   text COLLATE "C" NOT NULL REFERENCES groups,
    host         text NOT NULL,
    pid          int NOT NULL,
    code_version text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    leaving      boolean NOT NULL DEFAULT false
);

-- One row a lane: a group's share of one partition, the unit of ownership, of the checkpoint and of log positions.
-- lane = groups.ordinal * partitions + partition. Rewritten by every commit, hence the room for HOT updates.
CREATE TABLE partitions (
    lane          int PRIMARY KEY,
    group_name    text COLLATE "C" NOT NULL REFERENCES groups,
    partition     smallint NOT NULL,
    owner         text COLLATE "C",
    epoch         bigint NOT NULL DEFAULT 0,
    checkpoint    bigint NOT NULL DEFAULT 0,   -- stream sequence of the last message taken
    checkpoint_at bigint NOT NULL DEFAULT 0,   -- that message's timestamp, Unix nanoseconds: the anchor
    position      bigint NOT NULL DEFAULT 0,   -- at most the lane's last log position; the events themselves say exactly
    kinds         text[] NOT NULL DEFAULT '{}',-- the kinds it was last read for
    probe_seq     bigint NOT NULL DEFAULT 0,   -- the message being tried alone after an unclean death
    probe_count   int NOT NULL DEFAULT 0,
    UNIQUE (group_name, partition)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The event log -----------------------------------------------------------------------------------------------------

CREATE TABLE actors (
    actor      uuid PRIMARY KEY,               -- a digest of the address (schemas.address.actor_id)
    tenant     text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    lane       int NOT NULL,
    partition  smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, kind, key)
);

CREATE TABLE events (
    actor          uuid NOT NULL,
    seq            bigint NOT NULL,
    lane           int NOT NULL,
    position       bigint NOT NULL,            -- gapless within the lane, in commit order
    partition      smallint NOT NULL,
    version        smallint NOT NULL,
    epoch          bigint NOT NULL,
    at             timestamptz NOT NULL DEFAULT now(),
    tenant         text COLLATE "C" NOT NULL,
    type           text COLLATE "C" NOT NULL,
    command_id     text COLLATE "C" NOT NULL,
    session        text COLLATE "C",
    causation_id   text COLLATE "C",
    correlation_id text COLLATE "C",
    principal      text,
    code_version   text,
    key_id         text,                       -- for encrypted payloads
    hash           bytea,                      -- for the tamper-evident chain
    payload        json NOT NULL,              -- json, not jsonb: the exact text is kept
    PRIMARY KEY (actor, seq, partition)
) PARTITION BY HASH (partition);

DO $$ BEGIN
    FOR i IN 0..7 LOOP
        EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
    END LOOP;
END $$;

CREATE UNIQUE INDEX events_position ON events (lane, position, partition);
CREATE INDEX events_session ON events (tenant, session, at) WHERE session IS NOT NULL;

CREATE VIEW log AS
    SELECT e.tenant, a.kind, a.key, e.seq, e.type, e.version, e.payload, e.at, e.lane, e.position, e.command_id,
           e.session, e.causation_id, e.correlation_id, e.principal, e.code_version, e.epoch, e.partition, e.actor
    FROM events e JOIN actors a USING (actor);

CREATE TABLE snapshots (
    actor        uuid PRIMARY KEY,
    tenant       text COLLATE "C" NOT NULL,
    seq          bigint NOT NULL,
    fold_version text NOT NULL,
    state        text NOT NULL,
    at           timestamptz NOT NULL DEFAULT now()
);

-- What travels with the events --------------------------------------------------------------------------------------

-- One row a command that was answered: what makes a repeat harmless.
CREATE TABLE inbox (
    actor      uuid NOT NULL,
    command_id text COLLATE "C" NOT NULL,
    seq        bigint NOT NULL,
    lane       int NOT NULL,
    digest     int NOT NULL,                   -- of method and body: the same id with other arguments is refused
    failed     boolean NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    result     text NOT NULL,                  -- JSON: the result, or the Failure
    PRIMARY KEY (actor, command_id)
);
CREATE INDEX inbox_at ON inbox USING brin (at);

-- Commands that were taken from the broker and are not done: waiting for their key, running, or backing off.
CREATE TABLE pending (
    lane       int NOT NULL,
    actor      uuid NOT NULL,
    ord        bigint GENERATED ALWAYS AS IDENTITY,
    command_id text COLLATE "C" NOT NULL,
    tenant     text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    method     text COLLATE "C" NOT NULL,
    digest     int NOT NULL,
    state      text NOT NULL CHECK (state IN ('waiting', 'running', 'backoff')),
    holds      boolean NOT NULL,               -- whether later commands of the actor wait for it
    attempts   int NOT NULL DEFAULT 0,
    due_at     timestamptz,
    headers    text NOT NULL,                  -- JSON object
    body       bytea NOT NULL,
    error      text,
    since      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, actor, ord),
    UNIQUE (actor, command_id)
);

CREATE TABLE paused (
    actor  uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    lane   int NOT NULL,
    reason text NOT NULL,
    by     text,
    since  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX paused_lane ON paused (lane);

CREATE TABLE outbox (
    lane       int NOT NULL,
    ord        bigint NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    subject    text NOT NULL,
    headers    text NOT NULL,
    body       bytea NOT NULL,
    PRIMARY KEY (lane, ord)
);

CREATE TABLE timers (
    actor   uuid NOT NULL,
    name    text COLLATE "C" NOT NULL,
    lane    int NOT NULL,
    due_at  timestamptz NOT NULL,
    fire_id text COLLATE "C" NOT NULL,
    tenant  text COLLATE "C" NOT NULL,
    kind    text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    method  text COLLATE "C" NOT NULL,
    headers text NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (actor, name)
);
CREATE INDEX timers_due ON timers (lane, due_at);

CREATE TABLE dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor       uuid NOT NULL,
    lane        int,
    tenant      text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    method      text COLLATE "C" NOT NULL,
    command_id  text COLLATE "C" NOT NULL,
    headers     text NOT NULL,
    body        bytea NOT NULL,
    code        text NOT NULL,
    error       text NOT NULL,
    attempts    int NOT NULL,
    parked_at   timestamptz NOT NULL DEFAULT now(),
    status      text NOT NULL DEFAULT 'parked' CHECK (status IN ('parked', 'replayed', 'dropped')),
    resolved_at timestamptz,
    resolved_by text
);
CREATE UNIQUE INDEX dead_letters_parked ON dead_letters (actor, command_id) WHERE status = 'parked';
CREATE INDEX dead_letters_tenant ON dead_letters (tenant, kind, status, id);
