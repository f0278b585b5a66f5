-- The statements of the commit path and of ownership, by name. Arrays come as literals or in binary form (see arrays.py).

-- name: fence
-- First statement of every commit: locks the lanes in hand, moves their checkpoints, and says which are still ours.
UPDATE partitions p SET checkpoint = u.checkpoint, checkpoint_at = u.checkpoint_at, position = u.position
FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
     u(lane, epoch, checkpoint, checkpoint_at, position)
WHERE p.lane = u.lane AND p.epoch = u.epoch AND p.owner = %s
RETURNING p.lane

-- name: fence_all
-- First of a commit that is one round trip: it fails unless all of the lanes are still ours.
WITH held AS (
{{fence}}
)
SELECT CASE count(*) WHEN %s::int THEN 0 ELSE (count(*) || ' of the lanes are this pod''s')::int END FROM held

-- name: find_inbox
SELECT i.actor, i.command_id, i.seq, i.digest, i.failed, i.result
FROM unnest(%s::uuid[], %s::text[]) u(actor, command_id)
JOIN inbox i ON i.actor = u.actor AND i.command_id = u.command_id

-- name: find_pending_ids
SELECT p.actor, p.command_id, p.digest
FROM unnest(%s::uuid[], %s::text[]) u(actor, command_id)
JOIN pending p ON p.actor = u.actor AND p.command_id = u.command_id

-- name: find_runs
SELECT p.lane, p.actor, p.command_id, p.tenant, p.kind, p.key, p.method, p.digest, p.state, p.holds, p.attempts,
       extract(epoch FROM p.due_at)::float8, p.headers, p.body, p.error, p.tags,
       extract(epoch FROM p.expires_at)::float8
FROM unnest(%s::uuid[], %s::text[]) u(actor, command_id)
JOIN pending p ON p.actor = u.actor AND p.command_id = u.command_id

-- name: next_pending
SELECT p.lane, p.actor, p.command_id, p.tenant, p.kind, p.key, p.method, p.digest, p.state, p.holds, p.attempts,
       extract(epoch FROM p.due_at)::float8, p.headers, p.body, p.error, p.tags,
       extract(epoch FROM p.expires_at)::float8
FROM unnest(%s::int[], %s::uuid[]) u(lane, actor)
CROSS JOIN LATERAL (SELECT * FROM pending q WHERE q.lane = u.lane AND q.actor = u.actor AND q.holds
                    ORDER BY q.ord LIMIT %s) p

-- name: unfinished
-- All that is pending of actors that are to be deleted.
SELECT p.lane, p.actor, p.command_id, p.tenant, p.kind, p.key, p.method, p.digest, p.state, p.holds, p.attempts,
       extract(epoch FROM p.due_at)::float8, p.headers, p.body, p.error, p.tags,
       extract(epoch FROM p.expires_at)::float8
FROM unnest(%s::uuid[]) u(actor)
CROSS JOIN LATERAL (SELECT * FROM pending q WHERE q.actor = u.actor ORDER BY ord LIMIT %s) p

-- name: find_timers
SELECT t.actor, t.name, t.fire_id
FROM unnest(%s::uuid[], %s::text[]) u(actor, name)
JOIN timers t ON t.actor = u.actor AND t.name = u.name

-- name: timers_of
SELECT actor, name, fire_id FROM timers WHERE actor = ANY(%s::uuid[])

-- name: find_refused
SELECT r.actor, r.command_id, r.fingerprint, r.code, r.seq, r.failure
FROM unnest(%s::uuid[], %s::text[]) u(actor, command_id)
JOIN refused r ON r.actor = u.actor AND r.command_id = u.command_id

-- name: find_parked
-- Not by their status: on small tables the planner would then read the whole index of parked ones, and go on doing so.
SELECT id FROM dead_letters WHERE id = ANY(%s::bigint[]) AND resolved_at IS NULL

-- name: find_snapshots
SELECT s.actor, s.seq, s.state
FROM unnest(%s::uuid[], %s::text[]) u(actor, fold_version)
JOIN snapshots s ON s.actor = u.actor AND s.fold_version = u.fold_version

-- name: find_tails
SELECT e.actor, e.seq, e.type, e.version, e.payload::text
FROM unnest(%s::uuid[], %s::int[], %s::text[]) u(actor, partition, fold_version)
CROSS JOIN LATERAL (
    SELECT * FROM events q
    WHERE q.actor = u.actor AND q.partition = u.partition
      AND q.seq > coalesce((SELECT s.seq FROM snapshots s
                            WHERE s.actor = u.actor AND s.fold_version = u.fold_version), 0)
    ORDER BY q.seq LIMIT %s) e

-- name: no_inbox
-- These four fail if there is any: what a commit in one round trip has done was for commands that are new.
SELECT CASE count(*) WHEN 0 THEN 0 ELSE (count(*) || ' of the commands are answered')::int END FROM (
{{find_inbox}}
) known

-- name: no_pending_ids
SELECT CASE count(*) WHEN 0 THEN 0 ELSE (count(*) || ' of the commands are pending')::int END FROM (
{{find_pending_ids}}
) known

-- name: no_refused
SELECT CASE count(*) WHEN 0 THEN 0 ELSE (count(*) || ' of the commands were refused')::int END FROM (
{{find_refused}}
) known

-- name: no_actors
-- An actor has its row from its first event on, for ever.
SELECT CASE count(*) WHEN 0 THEN 0 ELSE (count(*) || ' of the actors have events')::int END
FROM unnest(%s::uuid[]) u(actor)
JOIN actors a ON a.actor = u.actor

-- name: insert_actors
INSERT INTO actors (actor, tenant, kind, key, lane, partition)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::int[], %s::smallint[])
ON CONFLICT (actor) DO NOTHING

-- name: insert_events
-- Here and for the inbox, unnest stands where it gives one row at a time: in FROM, each column is stored away first.
INSERT INTO events (code_version, actor, seq, lane, position, partition, version, epoch, tenant, type, command_id,
                    session, causation_id, correlation_id, principal, payload)
SELECT %s, unnest(%s::uuid[]), unnest(%s::bigint[]), unnest(%s::int[]), unnest(%s::bigint[]), unnest(%s::smallint[]),
       unnest(%s::smallint[]), unnest(%s::bigint[]), unnest(%s::text[]), unnest(%s::text[]), unnest(%s::text[]),
       unnest(%s::text[]), unnest(%s::text[]), unnest(%s::text[]), unnest(%s::text[]), unnest(%s::json[])

-- name: delete_inbox
DELETE FROM inbox i USING unnest(%s::uuid[], %s::text[]) u(actor, command_id)
WHERE i.actor = u.actor AND i.command_id = u.command_id

-- name: insert_inbox
INSERT INTO inbox (actor, command_id, seq, lane, digest, failed, result)
SELECT unnest(%s::uuid[]), unnest(%s::text[]), unnest(%s::bigint[]), unnest(%s::int[]), unnest(%s::int[]),
       unnest(%s::bool[]), unnest(%s::text[])

-- name: insert_refused
INSERT INTO refused (actor, command_id, fingerprint, digest, partition, seq, code, failure)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::smallint[], %s::bigint[], %s::text[], %s::text[])
ON CONFLICT DO NOTHING

-- name: insert_pending
INSERT INTO pending (lane, actor, command_id, tenant, kind, key, method, digest, state, holds, attempts, due_at,
                     headers, body, error, tags, expires_at)
SELECT u.lane, u.actor, u.command_id, u.tenant, u.kind, u.key, u.method, u.digest, u.state, u.holds, u.attempts,
       to_timestamp(u.due_at), u.headers, decode(u.body, 'hex'), u.error, u.tags::text[], to_timestamp(u.expires_at)
FROM unnest(%s::int[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[],
            %s::bool[], %s::int[], %s::float8[], %s::text[], %s::text[], %s::text[], %s::text[], %s::float8[])
     WITH ORDINALITY u(lane, actor, command_id, tenant, kind, key, method, digest, state, holds, attempts, due_at,
                       headers, body, error, tags, expires_at, n)
ORDER BY u.n

-- name: update_pending
UPDATE pending p SET state = u.state, attempts = u.attempts, due_at = to_timestamp(u.due_at), error = u.error,
                     holds = coalesce(u.holds, p.holds)
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::float8[], %s::text[], %s::bool[])
     u(actor, command_id, state, attempts, due_at, error, holds)
WHERE p.actor = u.actor AND p.command_id = u.command_id

-- name: end_runs
-- Before delete_pending: what a run was, its pending row says. One of an older pod has no tags.
INSERT INTO runs (actor, command_id, tenant, kind, key, method, digest, status, attempts, tags, seq, code, error, since,
                  content_type, body)
SELECT p.actor, p.command_id, p.tenant, p.kind, p.key, p.method, p.digest, u.status, u.attempts,
       coalesce(p.tags, '{}'), u.seq, u.code, u.error, p.since,
       CASE WHEN strpos(p.headers, '"Content-Type"') > 0 THEN p.headers::json ->> 'Content-Type' END,
       CASE WHEN octet_length(p.body) <= 65536 THEN p.body END
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::bigint[], %s::text[], %s::text[])
     u(actor, command_id, status, attempts, seq, code, error)
JOIN pending p ON p.actor = u.actor AND p.command_id = u.command_id
ON CONFLICT (command_id, actor) DO UPDATE SET status = excluded.status, attempts = excluded.attempts,
    tags = excluded.tags, seq = excluded.seq, code = excluded.code, error = excluded.error, since = excluded.since,
    ended_at = now()

-- name: settle_runs
-- One that is replayed goes on, as its pending row says; one that is dropped has failed for good. Its status is no
-- condition: on small tables the planner would then read the whole index of those that failed, and go on doing so.
WITH settled AS (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[]) u(actor, command_id, status)),
     gone AS (DELETE FROM runs r USING settled u
              WHERE r.actor = u.actor AND r.command_id = u.command_id AND u.status = 'replayed')
UPDATE runs r SET status = CASE r.status WHEN 'parked' THEN 'failed' ELSE r.status END FROM settled u
WHERE r.actor = u.actor AND r.command_id = u.command_id AND u.status = 'dropped'

-- name: delete_pending
DELETE FROM pending p USING unnest(%s::uuid[], %s::text[]) u(actor, command_id)
WHERE p.actor = u.actor AND p.command_id = u.command_id

-- name: insert_outbox
INSERT INTO outbox (lane, ord, message_id, subject, headers, body)
SELECT u.lane, u.ord, u.message_id, u.subject, u.headers, decode(u.body, 'hex')
FROM unnest(%s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])
     u(lane, ord, message_id, subject, headers, body)

-- name: delete_outbox
DELETE FROM outbox o USING unnest(%s::int[], %s::bigint[]) u(lane, ord) WHERE o.lane = u.lane AND o.ord <= u.ord

-- name: delete_timers
DELETE FROM timers t USING unnest(%s::uuid[], %s::text[]) u(actor, name)
WHERE t.actor = u.actor AND t.name = u.name

-- name: upsert_timers
INSERT INTO timers (actor, name, lane, due_at, fire_id, tenant, kind, key, method, headers, body)
SELECT u.actor, u.name, u.lane, to_timestamp(u.due_at), u.fire_id, u.tenant, u.kind, u.key, u.method, u.headers,
       decode(u.body, 'hex')
FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::float8[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::text[])
     u(actor, name, lane, due_at, fire_id, tenant, kind, key, method, headers, body)
ON CONFLICT (actor, name) DO UPDATE SET due_at = excluded.due_at, fire_id = excluded.fire_id,
    method = excluded.method, headers = excluded.headers, body = excluded.body, lane = excluded.lane

-- name: insert_dead_letters
INSERT INTO dead_letters (actor, lane, tenant, kind, key, method, command_id, headers, body, code, error, attempts)
SELECT u.actor, u.lane, u.tenant, u.kind, u.key, u.method, u.command_id, u.headers, decode(u.body, 'hex'), u.code,
       u.error, u.attempts
FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::int[])
     u(actor, lane, tenant, kind, key, method, command_id, headers, body, code, error, attempts)
ON CONFLICT (actor, command_id) WHERE status = 'parked' DO NOTHING

-- name: pause
INSERT INTO paused (actor, tenant, lane, reason, by)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::text[], %s::text[])
ON CONFLICT (actor) DO UPDATE SET reason = excluded.reason, by = excluded.by, lane = excluded.lane

-- name: resume
DELETE FROM paused WHERE actor = ANY(%s::uuid[])

-- name: resolve_dead_letters
UPDATE dead_letters d SET status = u.status, resolved_at = now(), resolved_by = u.by
FROM unnest(%s::bigint[], %s::text[], %s::text[]) u(id, status, by) WHERE d.id = u.id AND d.resolved_at IS NULL

-- name: erase_pending
DELETE FROM pending WHERE actor = ANY(%s::uuid[])

-- name: erase_paused
DELETE FROM paused WHERE actor = ANY(%s::uuid[])

-- name: erase_timers
DELETE FROM timers WHERE actor = ANY(%s::uuid[])

-- name: erase_letters
DELETE FROM dead_letters WHERE actor = ANY(%s::uuid[])

-- name: erase_snapshots
DELETE FROM snapshots WHERE actor = ANY(%s::uuid[])

-- name: erase_segment_actors
-- The segments still hold them: who reads these by place or by time leaves them out.
WITH wanted AS (SELECT * FROM unnest(%s::uuid[], %s::bigint[]) u(actor, seq)),
     gone AS (DELETE FROM segment_actors b USING wanted u WHERE b.actor = u.actor RETURNING b.actor)
INSERT INTO erased (actor, tenant, kind, key, seq)
SELECT a.actor, a.tenant, a.kind, a.key, u.seq FROM wanted u JOIN actors a ON a.actor = u.actor
WHERE u.actor IN (SELECT actor FROM gone)
ON CONFLICT (actor) DO UPDATE SET seq = excluded.seq

-- name: erase_below
UPDATE actors a SET erase_below = u.seq FROM unnest(%s::uuid[], %s::bigint[]) u(actor, seq) WHERE a.actor = u.actor

-- name: erased_base
-- What the archive folds on from: the rows begin with the event that says that the actor was deleted.
INSERT INTO archived (actor, tenant, seq, fold_version, state)
SELECT u.actor, u.tenant, u.seq - 1, u.fold_version, u.state
FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::text[], %s::text[]) u(actor, tenant, seq, fold_version, state)
ON CONFLICT (actor) DO UPDATE SET seq = excluded.seq, fold_version = excluded.fold_version, state = excluded.state

-- name: to_erase
SELECT actor, partition, erase_below FROM actors WHERE erase_below IS NOT NULL LIMIT 100

-- name: erase_events
WITH gone AS (DELETE FROM events WHERE (actor, seq, partition) IN (
    SELECT e.actor, e.seq, e.partition FROM events e
    WHERE e.actor = %(actor)s AND e.partition = %(partition)s AND e.seq < %(seq)s ORDER BY e.seq LIMIT %(limit)s)
    AND partition = %(partition)s RETURNING 1)
SELECT count(*) FROM gone

-- name: erase_inbox
-- The ids stay for as long as a repeat of one may come: it must not count in the actor's new life.
WITH gone AS (UPDATE inbox SET failed = true, result = %(failure)s WHERE (actor, command_id) IN (
    SELECT i.actor, i.command_id FROM inbox i
    WHERE i.actor = %(actor)s AND i.seq < %(seq)s AND i.result <> %(failure)s LIMIT %(limit)s) RETURNING 1)
SELECT count(*) FROM gone

-- name: erase_refused
WITH gone AS (UPDATE refused SET failure = %(failure)s WHERE (actor, command_id, fingerprint) IN (
    SELECT r.actor, r.command_id, r.fingerprint FROM refused r
    WHERE r.actor = %(actor)s AND r.seq < %(seq)s AND r.failure <> %(failure)s LIMIT %(limit)s) RETURNING 1)
SELECT count(*) FROM gone

-- name: erase_runs
WITH gone AS (DELETE FROM runs WHERE (command_id, actor) IN (
    SELECT r.command_id, r.actor FROM runs r WHERE r.actor = %(actor)s AND r.seq < %(seq)s LIMIT %(limit)s) RETURNING 1)
SELECT count(*) FROM gone

-- name: erase_late_snapshots
-- One that was being written while its actor was deleted.
DELETE FROM snapshots WHERE actor = %(actor)s AND seq < %(seq)s

-- name: erased
UPDATE actors SET erase_below = NULL WHERE actor = %(actor)s AND erase_below = %(seq)s

-- name: probe
-- Counts an attempt before it is made, in its own transaction. Returns the count of the lane's message.
UPDATE partitions p SET probe_count = CASE WHEN p.probe_seq = u.seq THEN p.probe_count + 1 ELSE 1 END, probe_seq = u.seq
FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) u(lane, epoch, seq)
WHERE p.lane = u.lane AND p.epoch = u.epoch AND p.owner = %s
RETURNING p.lane, p.probe_count

-- name: absolve
-- Takes back one count of `probe`: the attempt ended with the database's connection, not with the process.
UPDATE partitions p SET probe_count = p.probe_count - 1
FROM unnest(%s::int[], %s::bigint[]) u(lane, seq)
WHERE p.lane = u.lane AND p.probe_seq = u.seq AND p.probe_count > 0

-- name: heartbeat
INSERT INTO pods (id, group_name, host, pid, code_version, expires_at)
VALUES (%s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))
ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, beat_at = clock_timestamp()
RETURNING extract(epoch FROM clock_timestamp())::float8

-- name: leave
UPDATE pods SET leaving = true WHERE id = %s

-- name: remove_pod
DELETE FROM pods WHERE id = %s

-- name: live_pods
SELECT id, leaving, extract(epoch FROM clock_timestamp() - beat_at)::float8
FROM pods WHERE group_name = %s AND expires_at > clock_timestamp() ORDER BY id

-- name: forget_pods
DELETE FROM pods WHERE expires_at < clock_timestamp() - interval '1 hour'

-- name: owners
-- The group's lanes, and those that a promotion has given to another group while this pod still owns them.
SELECT lane, owner, epoch, group_name = %s FROM partitions WHERE group_name = %s OR owner = %s ORDER BY lane

-- name: confirm
-- What is this pod's for certain. FOR SHARE waits for whoever is taking a lane of it just now.
SELECT lane, epoch FROM partitions WHERE owner = %s ORDER BY lane FOR SHARE

-- name: lock_free
-- A row that is being committed right now is skipped and taken at the next try. A statement of its own: the next one sees
-- every heartbeat until these rows were locked, so that no lane is taken from a pod that has just come back to life.
SELECT lane FROM partitions WHERE lane = ANY(%s) AND group_name = %s ORDER BY lane FOR NO KEY UPDATE SKIP LOCKED

-- name: take
-- Takes those of the locked lanes that nobody alive owns.
UPDATE partitions p
SET owner = %(pod)s, epoch = p.epoch + 1,
    checkpoint = CASE WHEN p.kinds @> %(kinds)s THEN p.checkpoint ELSE 0 END,
    checkpoint_at = CASE WHEN p.kinds @> %(kinds)s THEN p.checkpoint_at ELSE 0 END,
    kinds = %(kinds)s
FROM (SELECT q.lane, q.owner FROM partitions q
      WHERE q.lane = ANY(%(lanes)s) AND (q.owner IS NULL OR q.owner = %(pod)s OR NOT EXISTS
            (SELECT FROM pods WHERE pods.id = q.owner AND pods.expires_at > clock_timestamp()))) was
WHERE p.lane = was.lane
RETURNING p.lane, p.partition, p.epoch, p.checkpoint, p.checkpoint_at, p.position,
          was.owner IS NOT NULL AND was.owner <> %(pod)s, p.probe_seq, p.probe_count,
          p.standby

-- name: take_up_group
UPDATE groups SET retired_at = NULL WHERE name = %s AND retired_at IS NOT NULL

-- name: release
UPDATE partitions p SET owner = NULL FROM unnest(%s::int[], %s::bigint[]) u(lane, epoch)
WHERE p.lane = u.lane AND p.epoch = u.epoch

-- name: yield_lanes
-- Lets go of lanes that a promotion has given to another group, once nothing of them is in hand.
UPDATE partitions SET owner = NULL WHERE owner = %(pod)s AND group_name <> %(group)s RETURNING group_name

-- name: lane_positions
SELECT u.lane, coalesce((SELECT e.position FROM events e WHERE e.lane = u.lane AND e.partition = u.partition
                         ORDER BY e.position DESC LIMIT 1), 0)
FROM unnest(%s::int[], %s::int[]) u(lane, partition)

-- name: lane_pending
SELECT lane, actor, command_id, tenant, kind, key, method, digest, state, holds, attempts,
       extract(epoch FROM due_at)::float8, headers, body, error, tags, extract(epoch FROM expires_at)::float8
FROM pending WHERE lane = ANY(%s) AND (NOT holds OR expires_at IS NOT NULL)

-- name: lane_held
SELECT lane, actor, min(kind), count(*), extract(epoch FROM (array_agg(due_at ORDER BY ord))[1])::float8
FROM pending WHERE lane = ANY(%s) AND holds GROUP BY lane, actor

-- name: lane_paused
SELECT lane, actor FROM paused WHERE lane = ANY(%s)

-- name: refused_partitions
SELECT u.partition FROM unnest(%s::int[]) u(partition)
WHERE EXISTS (SELECT FROM refused r WHERE r.partition = u.partition)

-- name: lane_outbox
SELECT lane, ord, message_id, subject, headers, body FROM outbox WHERE lane = ANY(%s) ORDER BY lane, ord

-- name: kinds_elsewhere
-- Those of these kinds that some group reads from another stream: (kind, stream).
SELECT k.kind, g.stream FROM group_kinds k JOIN groups g ON g.name = k.group_name WHERE k.kind = ANY(%s) AND g.stream <> %s

-- name: register_group
-- A retired one is taken up again. (the stream that it reads)
INSERT INTO groups (name, stream) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET retired_at = NULL RETURNING stream

-- name: register_lanes
-- Those of the partitions that are on this server.
INSERT INTO partitions (lane, group_name, partition, standby)
SELECT g.ordinal * %(partitions)s + n, g.name, n, %(standby)s
FROM groups g, generate_series(%(server)s, %(partitions)s - 1, %(servers)s) n WHERE g.name = %(group)s
ON CONFLICT DO NOTHING

-- name: open_lanes
-- Makes the standby lanes of a group live that nobody else's kinds keep waiting: their owners take them anew.
UPDATE partitions SET standby = false, owner = NULL, epoch = epoch + 1 WHERE group_name = %s AND standby

-- name: register_group_kind
INSERT INTO group_kinds (group_name, kind, code_version, capability) VALUES (%s, %s, %s, %s)
ON CONFLICT (group_name, kind) DO UPDATE SET code_version = excluded.code_version, capability = excluded.capability,
    registered_at = now()

-- name: register_kind
INSERT INTO kinds (kind, group_name, code_version, capability) VALUES (%s, %s, %s, %s)
ON CONFLICT (kind) DO UPDATE SET code_version = excluded.code_version, capability = excluded.capability,
    registered_at = now()
WHERE kinds.group_name = excluded.group_name

-- name: foreign_kinds
-- Kinds of this group that are another's by now: (kind, group).
SELECT k.kind, k.group_name FROM kinds k JOIN group_kinds g ON g.kind = k.kind
WHERE g.group_name = %s AND k.group_name <> %s

-- name: recall
-- Which log this is, and how many of these kinds it knows as this group's.
SELECT (SELECT value FROM settings WHERE name = 'log_id'),
       (SELECT count(*) FROM group_kinds WHERE group_name = %s AND kind = ANY(%s))

-- name: own_kinds
SELECT kind FROM kinds WHERE group_name = %s

-- name: setting
SELECT value FROM settings WHERE name = %s

-- name: set_setting
INSERT INTO settings (name, value) VALUES (%s, %s) ON CONFLICT DO NOTHING
