-- Documents of indexes (docs/adr/0032): made of the events of their actor, and of nothing else, so that they may be
-- dropped at any time.
CREATE TABLE documents (
    actor     uuid NOT NULL,
    id        text COLLATE "C" NOT NULL,
    tenant    text COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,                 -- of the event that made it what it is
    text      text NOT NULL,
    words     tsvector NOT NULL,
    meta      jsonb NOT NULL,
    model     text COLLATE "C" NOT NULL,
    embedding real[],                          -- searched as a vector where the extension is
    PRIMARY KEY (actor, id)
);
ALTER TABLE documents ALTER embedding SET STORAGE EXTERNAL;  -- numbers at random are not compressed
CREATE INDEX documents_tenant ON documents (tenant);

-- How far an actor's documents follow its events.
CREATE TABLE indexed (
    actor   uuid PRIMARY KEY,
    tenant  text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL
);

-- Likeness of vectors is pgvector's. Only a superuser may bring it in, and without it words are searched all the same.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') THEN
        CREATE EXTENSION IF NOT EXISTS vector SCHEMA troupe;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'the extension vector is there and was not brought in: run CREATE EXTENSION vector as a superuser';
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON documents, indexed TO troupe_pod;
GRANT SELECT ON documents, indexed TO troupe_reader;
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents FORCE ROW LEVEL SECURITY;
ALTER TABLE indexed ENABLE ROW LEVEL SECURITY;
ALTER TABLE indexed FORCE ROW LEVEL SECURITY;
CREATE POLICY pod ON documents TO troupe_pod USING (true) WITH CHECK (true);
CREATE POLICY pod ON indexed TO troupe_pod USING (true) WITH CHECK (true);
CREATE POLICY reader ON documents FOR SELECT TO troupe_reader USING (tenant = current_setting('troupe.tenant', true));
CREATE POLICY reader ON indexed FOR SELECT TO troupe_reader USING (tenant = current_setting('troupe.tenant', true));
