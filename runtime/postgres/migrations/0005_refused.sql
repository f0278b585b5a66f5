-- One row a command that was refused: read from the stream again, it is refused again, also by newer code. The id stays
-- free for another command, so the key holds what was refused beside the id.
CREATE TABLE refused (
    actor       uuid NOT NULL,
    command_id  text COLLATE "C" NOT NULL,
    fingerprint int NOT NULL,                  -- of method, body and the headers that had a say in the refusal
    digest      int NOT NULL,                  -- of method and body alone, as in the inbox
    partition   smallint NOT NULL,
    seq         bigint NOT NULL,
    code        text COLLATE "C" NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    failure     text NOT NULL,                 -- JSON
    PRIMARY KEY (actor, command_id, fingerprint)
);
CREATE INDEX refused_at ON refused USING brin (at);
CREATE INDEX refused_partition ON refused (partition);

GRANT SELECT, INSERT, UPDATE, DELETE ON refused TO troupe_pod;
ALTER TABLE refused ENABLE ROW LEVEL SECURITY;
ALTER TABLE refused FORCE ROW LEVEL SECURITY;
CREATE POLICY pod ON refused TO troupe_pod USING (true) WITH CHECK (true);

-- A retired group holds back the trimming of the stream no more; a pod that starts in it takes it up again.
ALTER TABLE groups ADD COLUMN retired_at timestamptz;
