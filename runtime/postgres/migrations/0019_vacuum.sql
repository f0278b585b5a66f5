-- Housekeeping vacuums every table whose rows come and go with the work, for the reasons of 0014: where Postgres was
-- killed every two minutes, the indexes of pending and runs grew without end as well.
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE 'GRANT MAINTAIN ON pending, outbox, timers, refused, runs TO troupe_pod';
    END IF;
END $$;
