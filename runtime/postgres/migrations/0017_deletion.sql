-- Actors that were deleted (docs/adr/0024): what is of before this event goes, many rows at a time, until this is NULL.
ALTER TABLE actors ADD COLUMN erase_below bigint;
CREATE INDEX actors_to_erase ON actors (actor) WHERE erase_below IS NOT NULL;
CREATE INDEX runs_of_actor ON runs (actor);
CREATE INDEX dead_letters_of_actor ON dead_letters (actor);

-- Those of them of which segments of the archive hold events still.
CREATE TABLE erased (
    actor  uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    key    text COLLATE "C" NOT NULL,
    seq    bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON erased TO troupe_pod;
GRANT SELECT ON erased TO troupe_reader;
ALTER TABLE erased ENABLE ROW LEVEL SECURITY;
ALTER TABLE erased FORCE ROW LEVEL SECURITY;
CREATE POLICY pod ON erased TO troupe_pod USING (true) WITH CHECK (true);
CREATE POLICY reader ON erased FOR SELECT TO troupe_reader USING (tenant = current_setting('troupe.tenant', true));
