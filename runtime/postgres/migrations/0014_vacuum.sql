-- Housekeeping has the room of deleted answers used again. Autovacuum would, but what it has counted is forgotten in a
-- crash, and it looks once a minute: where Postgres was killed every two minutes the inbox's index grew without end.
-- (Before PostgreSQL 17 only a table's owner may, and autovacuum has to do.)
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN EXECUTE 'GRANT MAINTAIN ON inbox TO troupe_pod'; END IF;
END $$;
