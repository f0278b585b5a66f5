-- Pinned versions (docs/adr/0007): a group whose kinds are another group's stands by until it is promoted.

-- Whether nothing is committed in this lane: its group waits for its promotion.
ALTER TABLE partitions ADD COLUMN standby boolean NOT NULL DEFAULT false;

-- What each group's pods can do; the table kinds holds what is current.
CREATE TABLE group_kinds (
    group_name    text COLLATE "C" NOT NULL REFERENCES groups ON DELETE CASCADE,
    kind          text COLLATE "C" NOT NULL,
    code_version  text NOT NULL,
    capability    json NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_name, kind)
);
INSERT INTO group_kinds (group_name, kind, code_version, capability, registered_at)
SELECT group_name, kind, code_version, capability, registered_at FROM kinds;

GRANT SELECT, INSERT, UPDATE, DELETE ON group_kinds TO troupe_pod;
