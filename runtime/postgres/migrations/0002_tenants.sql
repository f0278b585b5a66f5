-- Row-level security. Pods act as troupe_pod and see every tenant; whoever reads as troupe_reader sees the rows of the
-- tenant named by  SET LOCAL troupe.tenant = '…'  and none without it. FORCE: the tables' owner is no exception.

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'troupe_pod') THEN CREATE ROLE troupe_pod NOLOGIN; END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'troupe_reader') THEN CREATE ROLE troupe_reader NOLOGIN; END IF;
    EXECUTE format('GRANT troupe_pod, troupe_reader TO %I', current_user);
END $$;

GRANT USAGE ON SCHEMA troupe TO troupe_pod, troupe_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA troupe TO troupe_pod;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA troupe TO troupe_pod;
GRANT SELECT ON actors, events, log, snapshots, dead_letters, timers, paused TO troupe_reader;
ALTER VIEW log SET (security_invoker = true);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['actors', 'events', 'snapshots', 'inbox', 'pending', 'paused', 'outbox', 'timers',
                             'dead_letters'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY pod ON %I TO troupe_pod USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['actors', 'events', 'snapshots', 'paused', 'timers', 'dead_letters'] LOOP
        EXECUTE format($p$CREATE POLICY reader ON %I FOR SELECT TO troupe_reader
                          USING (tenant = current_setting('troupe.tenant', true))$p$, t);
    END LOOP;
END $$;
