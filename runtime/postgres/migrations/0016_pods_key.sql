-- What proves to pods that an actor sent a message, or that a token is one of theirs: known to pods only. No reader of a
-- tenant's may read settings. All servers of a log have the first one's.
INSERT INTO settings (name, value)
VALUES ('pods_key', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));
