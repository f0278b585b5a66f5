-- The archive (docs/archive.md, docs/adr/0016): old events lie in segments, and their rows are gone.

CREATE TABLE segments (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store          text NOT NULL,               -- the URL below which its name leads to it
    name           text COLLATE "C" NOT NULL,
    sha256         text COLLATE "C" NOT NULL,   -- of the whole file, hex
    bytes          bigint NOT NULL,
    format         smallint NOT NULL,
    lane           int NOT NULL,
    partition      smallint NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    tenants        text[] NOT NULL,
    sessions       int[] NOT NULL,              -- CRC-32 of the sessions whose events it holds
    events         int NOT NULL,
    first_position bigint NOT NULL,
    last_position  bigint NOT NULL,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    archived_at    timestamptz NOT NULL DEFAULT now(),
    live           boolean NOT NULL DEFAULT true, -- false: its events are rows again
    restored_at    timestamptz,                 -- when they last became so: who was reading meanwhile reads again
    UNIQUE (store, name)
);
CREATE INDEX segments_lane ON segments (lane, last_position);
CREATE INDEX segments_restored ON segments (restored_at) WHERE restored_at IS NOT NULL;

-- Where an actor's archived events are: one row a block of a segment.
CREATE TABLE segment_actors (
    actor     uuid NOT NULL,
    first_seq bigint NOT NULL,
    last_seq  bigint NOT NULL,
    tenant    text COLLATE "C" NOT NULL,
    segment   bigint NOT NULL REFERENCES segments ON DELETE CASCADE,
    at_byte   bigint NOT NULL,                  -- from the beginning of the file
    bytes     int NOT NULL,
    sha256    text COLLATE "C" NOT NULL,
    PRIMARY KEY (actor, first_seq)
);
CREATE INDEX segment_actors_segment ON segment_actors (segment);

-- How far each actor is archived, with its state there: what the next archiving folds on from.
CREATE TABLE archived (
    actor        uuid PRIMARY KEY,
    tenant       text COLLATE "C" NOT NULL,
    seq          bigint NOT NULL,
    fold_version text NOT NULL,
    state        text NOT NULL
);

-- Whoever reads the log by position may say how far it is, best in the transaction of its rows: until it has read them,
-- events stay rows. Nothing is lost without it; reading them from segments takes longer.
CREATE TABLE readers (
    reader   text COLLATE "C" NOT NULL,
    lane     int NOT NULL,
    position bigint NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, lane)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON segments, segment_actors, archived, readers TO troupe_pod;
GRANT SELECT ON segments, segment_actors TO troupe_reader;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['segments', 'segment_actors', 'archived'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY pod ON %I TO troupe_pod USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
CREATE POLICY reader ON segments FOR SELECT TO troupe_reader USING (current_setting('troupe.tenant', true) = ANY (tenants));
CREATE POLICY reader ON segment_actors FOR SELECT TO troupe_reader USING (tenant = current_setting('troupe.tenant', true));
