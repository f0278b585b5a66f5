-- The archive: what may leave the table of events, what has left it, and where it lies now (docs/archive.md).

-- name: archive_blocks
-- How many blocks the table of actors has: archiving goes through it in pieces of these, and needs no index for it.
SELECT pg_relation_size('actors') / current_setting('block_size')::bigint

-- name: archive_candidates
-- Actors of a piece of the table that have rows beyond the newest ones that are kept, the oldest of them old enough. What
-- a command that is not done, or is parked and may be replayed, has recorded of its execution stays a row, and with it
-- all that follows.
SELECT a.actor, a.tenant, a.key, a.lane, a.partition, first.seq, least(last.seq - %(keep_events)s, run.seq - 1)
FROM actors a
CROSS JOIN LATERAL (SELECT e.seq, e.at FROM events e WHERE e.actor = a.actor AND e.partition = a.partition
                    ORDER BY e.seq LIMIT 1) first
CROSS JOIN LATERAL (SELECT e.seq FROM events e WHERE e.actor = a.actor AND e.partition = a.partition
                    ORDER BY e.seq DESC LIMIT 1) last
LEFT JOIN LATERAL (SELECT min(e.seq) AS seq FROM events e
                   WHERE e.actor = a.actor AND e.partition = a.partition AND last.seq - %(keep_events)s >= first.seq
                     AND e.type IN ('troupe.step', 'troupe.signal', 'troupe.update', 'troupe.cancel', 'troupe.answer')
                     AND e.command_id IN (SELECT p.command_id FROM pending p WHERE p.actor = a.actor UNION ALL
                                          SELECT l.command_id FROM dead_letters l
                                          WHERE l.actor = a.actor AND l.status = 'parked')) run ON true
WHERE a.ctid >= %(from)s::tid AND a.ctid < %(to)s::tid AND a.kind = %(kind)s AND a.lane = ANY(%(lanes)s)
  AND first.at < %(before)s AND least(last.seq - %(keep_events)s, run.seq - 1) >= first.seq

-- name: archive_base
SELECT seq, fold_version, state FROM archived WHERE actor = %s

-- name: archive_rows
SELECT seq, lane, position, version, epoch, at, type, command_id, session, causation_id, correlation_id, principal,
       code_version, key_id, encode(hash, 'hex'), payload::text
FROM events WHERE actor = %(actor)s AND partition = %(partition)s AND seq >= %(from_seq)s AND seq <= %(upto)s
ORDER BY seq LIMIT %(limit)s

-- name: archive_readers
SELECT lane, min(position) FROM readers GROUP BY lane

-- name: archive_lock
-- Those of these lanes that nobody else archives now; the lock goes with the connection.
SELECT lane FROM unnest(%(lanes)s::int[]) lane WHERE pg_try_advisory_lock(%(class)s, lane)

-- name: archive_unlock
SELECT pg_advisory_unlock(%(class)s, lane) FROM unnest(%(lanes)s::int[]) lane

-- name: insert_segment
INSERT INTO segments (store, name, sha256, bytes, format, lane, partition, kind, tenants, sessions, events,
                      first_position, last_position, first_at, last_at)
VALUES (%(store)s, %(name)s, %(sha256)s, %(bytes)s, %(format)s, %(lane)s, %(partition)s, %(kind)s, %(tenants)s,
        %(sessions)s, %(events)s, %(first_position)s, %(last_position)s, %(first_at)s, %(last_at)s)
ON CONFLICT (store, name) DO UPDATE SET live = true, archived_at = now() WHERE NOT segments.live
RETURNING id

-- name: insert_segment_actors
INSERT INTO segment_actors (actor, first_seq, last_seq, tenant, segment, at_byte, bytes, sha256)
SELECT u.actor, u.first_seq, u.last_seq, u.tenant, %s, u.at_byte, u.bytes, u.sha256
FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::int[], %s::text[])
     u(actor, first_seq, last_seq, tenant, at_byte, bytes, sha256)

-- name: move_archived
-- Only from where the archiving began: whoever was archived otherwise meanwhile gives no row.
INSERT INTO archived (actor, tenant, seq, fold_version, state)
SELECT u.actor, u.tenant, u.last_seq, u.fold_version, u.state
FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[])
     u(actor, tenant, first_seq, last_seq, fold_version, state)
WHERE u.first_seq = 1 OR EXISTS (SELECT FROM archived d WHERE d.actor = u.actor AND d.seq = u.first_seq - 1)
ON CONFLICT (actor) DO UPDATE SET seq = excluded.seq, fold_version = excluded.fold_version, state = excluded.state
WHERE archived.seq < excluded.seq
RETURNING actor

-- name: covering_snapshots
SELECT s.actor FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) u(actor, fold_version, seq)
JOIN snapshots s ON s.actor = u.actor AND s.fold_version = u.fold_version AND s.seq >= u.seq FOR SHARE OF s

-- name: delete_archived_events
DELETE FROM events e USING unnest(%s::uuid[], %s::bigint[], %s::bigint[]) u(actor, first_seq, last_seq)
WHERE e.actor = u.actor AND e.partition = %s AND e.lane = %s AND e.seq >= u.first_seq AND e.seq <= u.last_seq

-- name: actor_blocks
-- Where archived events of an actor lie.
SELECT s.id, s.store, s.name, b.first_seq, b.last_seq, b.at_byte, b.bytes, b.sha256, s.lane, b.tenant,
       coalesce(s.kind || '/' || a.key, '?')
FROM segment_actors b JOIN segments s ON s.id = b.segment LEFT JOIN actors a ON a.actor = b.actor
WHERE b.actor = %(actor)s AND b.last_seq >= %(from_seq)s AND b.first_seq <= %(upto)s ORDER BY b.first_seq

-- name: erased_actors
-- Of deleted actors, whose events in segments are nobody's any more: those before these sequences.
SELECT tenant, kind, key, seq FROM erased

-- name: erased_seqs
SELECT replace(actor::text, '-', ''), seq FROM erased

-- name: lane_segments
SELECT id, store, name, sha256, first_position FROM segments
WHERE live AND lane = %(lane)s AND last_position > %(after)s AND first_position <= %(end)s
  AND (%(tenant)s::text IS NULL OR %(tenant)s = ANY (tenants)) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(since)s::timestamptz IS NULL OR last_at >= %(since)s) AND (%(until)s::timestamptz IS NULL OR first_at < %(until)s)
ORDER BY first_position

-- name: time_segments
SELECT id, store, name, sha256, first_at FROM segments
WHERE live AND last_at >= %(since)s AND first_at < %(until)s
  AND (%(tenant)s::text IS NULL OR %(tenant)s = ANY (tenants)) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
ORDER BY first_at

-- name: session_segments
SELECT id, store, name, sha256, first_at FROM segments
WHERE live AND %(tenant)s = ANY (tenants) AND %(mark)s = ANY (sessions)
  AND last_position > coalesce((%(after)s::jsonb ->> lane::text)::bigint, 0) ORDER BY first_at

-- name: last_restored
SELECT max(restored_at) FROM segments WHERE restored_at IS NOT NULL

-- name: list_segments
SELECT id, kind, lane, events, (SELECT count(*) FROM segment_actors b WHERE b.segment = s.id), bytes, first_at, last_at,
       archived_at, live, store, name, sha256
FROM segments s WHERE (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(id)s::bigint IS NULL OR id = %(id)s) ORDER BY id

-- name: lock_segment
SELECT lane, partition FROM segments WHERE id = %s AND live FOR UPDATE

-- name: later_segment
-- The newest segment with later events of an actor of this one: they become rows again first.
SELECT max(l.segment) FROM segment_actors b JOIN segment_actors l ON l.actor = b.actor AND l.first_seq > b.last_seq
WHERE b.segment = %s

-- name: restore_events
INSERT INTO events (actor, tenant, lane, partition, seq, position, version, epoch, at, type, command_id, session,
                    causation_id, correlation_id, principal, code_version, key_id, hash, payload)
SELECT %(actor)s::uuid, %(tenant)s, %(lane)s, %(partition)s, r.seq, r.position, r.version, r.epoch, r.at, r.type,
       r.command_id, r.session, r.causation_id, r.correlation_id, r.principal, r.code_version, r.key_id,
       decode(r.hash, 'hex'), r.payload::json
FROM json_to_recordset(%(events)s::json) r(
    seq bigint, position bigint, version smallint, epoch bigint, at timestamptz, type text, command_id text, session text,
    causation_id text, correlation_id text, principal text, code_version text, key_id text, hash text, payload text)

-- name: lower_archived
-- The state there is not known any more: the next archiving folds from the actor's first event.
UPDATE archived d SET seq = b.first_seq - 1, fold_version = '', state = ''
FROM segment_actors b WHERE b.segment = %s AND d.actor = b.actor

-- name: forget_archived
DELETE FROM archived d USING segment_actors b WHERE b.segment = %s AND d.actor = b.actor AND d.seq = 0

-- name: forget_segment_actors
DELETE FROM segment_actors WHERE segment = %s

-- name: segment_restored
UPDATE segments SET live = false, restored_at = clock_timestamp() WHERE id = %s

-- name: all_lanes
SELECT lane FROM partitions ORDER BY lane
