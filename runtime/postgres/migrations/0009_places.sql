-- The map from place to place (docs/adr/0014): the stream that a group reads, and which server of how many this one is.

ALTER TABLE groups ADD COLUMN stream text COLLATE "C" NOT NULL DEFAULT 'CMD';

-- A log from before there could be several servers is on one.
INSERT INTO settings (name, value) SELECT 'server', '1 of 1' FROM partitions LIMIT 1;
