-- Reading the log and what the engine keeps beside it. Columns of an event always in the order of LogEvent's making.

-- name: actor_events
SELECT tenant, kind, key, seq, lane, position, type, version, at, command_id, payload::text, session, causation_id,
       correlation_id, principal, code_version, epoch
FROM log WHERE actor = %(actor)s AND partition = %(partition)s AND seq >= %(from_seq)s
  AND (%(until)s::timestamptz IS NULL OR at <= %(until)s) ORDER BY seq LIMIT %(limit)s

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM events WHERE actor = %(actor)s AND partition = %(partition)s

-- name: run_journal
-- What an execution has completed and was told, for when it starts anew; the condition on the type is the index's.
SELECT seq, type, payload::text FROM log
WHERE actor = %(actor)s AND partition = %(partition)s AND command_id = %(command_id)s
  AND type IN ('troupe.step', 'troupe.signal', 'troupe.update', 'troupe.cancel', 'troupe.answer')
  AND seq > %(after)s ORDER BY seq LIMIT %(limit)s

-- name: run_journals
-- The beginnings of several of them.
SELECT u.n, e.seq, e.type, e.payload
FROM unnest(%(actors)s::uuid[], %(partitions)s::smallint[], %(commands)s::text[], %(afters)s::bigint[])
     WITH ORDINALITY u(actor, partition, command_id, after, n)
CROSS JOIN LATERAL (
    SELECT q.seq, q.type, q.payload::text FROM events q
    WHERE q.actor = u.actor AND q.partition = u.partition AND q.command_id = u.command_id
      AND q.seq > u.after
      AND q.type IN ('troupe.step', 'troupe.signal', 'troupe.update', 'troupe.cancel', 'troupe.answer')
    ORDER BY q.seq LIMIT %(limit)s) e
ORDER BY u.n, e.seq

-- name: lane_events
SELECT tenant, kind, key, seq, lane, position, type, version, at, command_id, payload::text, session, causation_id,
       correlation_id, principal, code_version, epoch
FROM log WHERE lane = %(lane)s AND partition = %(partition)s AND position > %(after)s AND position <= %(end)s
  AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s) AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
ORDER BY position LIMIT %(limit)s

-- name: time_events
SELECT tenant, kind, key, seq, lane, position, type, version, at, command_id, payload::text, session, causation_id,
       correlation_id, principal, code_version, epoch
FROM log WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND at >= %(since)s AND at < %(until)s ORDER BY at, lane, position LIMIT %(limit)s

-- name: session_events
SELECT tenant, kind, key, seq, lane, position, type, version, at, command_id, payload::text, session, causation_id,
       correlation_id, principal, code_version, epoch
FROM log WHERE tenant = %(tenant)s AND session = %(session)s
  AND (position > coalesce((%(after)s::jsonb ->> lane::text)::bigint, 0)) ORDER BY at, lane, position LIMIT %(limit)s

-- name: positions
SELECT p.lane, greatest(p.position, coalesce((SELECT max(e.position) FROM events e
                                              WHERE e.lane = p.lane AND e.partition = p.partition), 0))
FROM partitions p ORDER BY p.lane

-- name: inbox_entry
SELECT seq, digest, failed, result FROM inbox WHERE actor = %s AND command_id = %s

-- name: pending_entry
SELECT state, attempts, error, digest FROM pending WHERE actor = %s AND command_id = %s

-- name: refusal
SELECT fingerprint, code, seq, failure FROM refused
WHERE actor = %(actor)s AND command_id = %(command_id)s AND (%(digest)s::int IS NULL OR digest = %(digest)s)
ORDER BY at DESC LIMIT 1

-- name: actor_pending
-- What waits and has a time has begun: it is suspended.
SELECT command_id, method, CASE WHEN state = 'waiting' AND due_at IS NOT NULL THEN 'suspended' ELSE state END, holds,
       attempts, extract(epoch FROM due_at)::float8, error, since
FROM pending WHERE actor = %s ORDER BY ord LIMIT 100

-- name: actor_paused
SELECT reason, by, since FROM paused WHERE actor = %s

-- name: actor_snapshot
SELECT seq, fold_version, state FROM snapshots WHERE actor = %s

-- name: list_actors
SELECT a.tenant, a.kind, a.key, a.partition, a.created_at,
       (SELECT max(e.seq) FROM events e WHERE e.actor = a.actor AND e.partition = a.partition)
FROM actors a
WHERE a.tenant = %(tenant)s AND (%(kind)s::text IS NULL OR a.kind = %(kind)s)
  AND (a.kind, a.key) > (%(after_kind)s, %(after_key)s) ORDER BY a.kind, a.key LIMIT %(limit)s

-- name: list_dead
SELECT id, tenant, kind, key, method, command_id, code, error, attempts, parked_at, status, resolved_at, resolved_by
FROM dead_letters WHERE tenant = %(tenant)s AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(key)s::text IS NULL OR key = %(key)s) AND (%(status)s::text IS NULL OR status = %(status)s) AND id > %(after)s ORDER BY id LIMIT %(limit)s

-- name: dead_letter
SELECT id, tenant, kind, key, method, command_id, code, error, attempts, parked_at, status, resolved_at, resolved_by,
       headers, body
FROM dead_letters WHERE id = %(id)s AND tenant = %(tenant)s

-- name: drop_unserved
-- Drops a dead letter of a kind that nobody serves; the owner of any other's actor does that itself.
WITH gone AS (UPDATE dead_letters d SET status = 'dropped', resolved_at = now(), resolved_by = %(by)s
WHERE d.id = %(id)s AND d.tenant = %(tenant)s AND d.status = 'parked'
  AND NOT EXISTS (SELECT FROM kinds k JOIN groups g ON g.name = k.group_name
                  WHERE k.kind = d.kind AND g.retired_at IS NULL)
RETURNING d.id, d.actor, d.command_id),
     settled AS (UPDATE runs r SET status = 'failed' FROM gone
                 WHERE r.actor = gone.actor AND r.command_id = gone.command_id AND r.status = 'parked')
SELECT id FROM gone

-- name: list_partitions
SELECT p.lane, p.group_name, p.partition, p.owner, p.epoch, p.checkpoint, p.position,
       d.expires_at > clock_timestamp() AS alive,
       (SELECT count(*) FROM pending q WHERE q.lane = p.lane), (SELECT count(*) FROM outbox o WHERE o.lane = p.lane),
       p.standby, g.stream
FROM partitions p JOIN groups g ON g.name = p.group_name LEFT JOIN pods d ON d.id = p.owner ORDER BY p.lane

-- name: list_pods
SELECT id, group_name, host, pid, code_version, started_at, extract(epoch FROM expires_at - clock_timestamp())::float8,
       leaving FROM pods WHERE expires_at > clock_timestamp() - interval '1 minute' ORDER BY started_at

-- name: capabilities
-- And whether some lane has a living owner that serves the kind.
SELECT k.capability::text,
       EXISTS (SELECT FROM partitions p JOIN pods d ON d.id = p.owner AND d.expires_at > clock_timestamp()
               WHERE p.group_name = k.group_name AND p.kinds @> ARRAY[k.kind::text])
FROM kinds k ORDER BY k.kind

-- name: next_timer
-- Only one that is due can have its command pending.
SELECT extract(epoch FROM least(
    (SELECT min(due_at) FROM timers WHERE lane = ANY(%(lanes)s) AND kind = ANY(%(kinds)s)
        AND due_at > now() + make_interval(secs => %(ahead_s)s)),
    (SELECT min(t.due_at) FROM timers t WHERE t.lane = ANY(%(lanes)s) AND t.kind = ANY(%(kinds)s)
        AND t.due_at <= now() + make_interval(secs => %(ahead_s)s)
        AND NOT EXISTS (SELECT FROM pending p WHERE p.actor = t.actor AND p.command_id = t.fire_id))))::float8

-- name: due_timers
-- Due by the log's clock too: what a pod takes for it may be ahead by as long as an answer took.
SELECT actor, name, lane, extract(epoch FROM due_at)::float8, fire_id, tenant, kind, key, method, headers, body
FROM timers t WHERE lane = ANY(%(lanes)s) AND kind = ANY(%(kinds)s)
  AND due_at <= least(to_timestamp(%(now)s), now() + make_interval(secs => %(ahead_s)s))
  AND NOT EXISTS (SELECT FROM pending p WHERE p.actor = t.actor AND p.command_id = t.fire_id)
ORDER BY due_at LIMIT %(limit)s

-- name: waiting
SELECT lane, actor, command_id, tenant, kind, key, method, digest, state, holds, attempts,
       extract(epoch FROM due_at)::float8
FROM pending WHERE lane = ANY(%(lanes)s) AND kind = ANY(%(kinds)s) AND due_at <= to_timestamp(%(until)s)

-- name: waiting_behind
SELECT extract(epoch FROM min(due_at))::float8
FROM pending WHERE lane = ANY(%(lanes)s) AND kind = ANY(%(kinds)s) AND due_at > to_timestamp(%(until)s)

-- name: actor_timers
SELECT name, due_at, method FROM timers WHERE actor = %s ORDER BY due_at

-- name: needed
-- Of a stream: the lowest checkpoint of the groups that are not retired and its earliest time, and [kind, partition, checkpoint] of
-- those that are: in one statement, since a group that is taken up in between would lose commands.
SELECT kept.upto, kept.at,
       (SELECT coalesce(json_agg(json_build_array(k.kind, p.partition, p.checkpoint)), '[]')
        FROM groups g JOIN kinds k ON k.group_name = g.name JOIN partitions p ON p.group_name = g.name
        WHERE g.stream = %(stream)s AND g.retired_at IS NOT NULL AND NOT p.standby)
FROM (SELECT min(p.checkpoint) AS upto, min(p.checkpoint_at) AS at
      FROM partitions p JOIN groups g ON g.name = p.group_name
      WHERE g.stream = %(stream)s AND g.retired_at IS NULL AND NOT p.standby) kept

-- name: unread_kinds
-- Kinds of a stream in whose group's lanes pods that do not know them read: (kind, partition).
SELECT k.kind, p.partition FROM kinds k JOIN partitions p ON p.group_name = k.group_name
JOIN groups g ON g.name = k.group_name
WHERE g.stream = %(stream)s AND g.retired_at IS NULL AND NOT p.kinds @> ARRAY[k.kind::text]

-- name: absent_groups
-- Groups that hold back trimming although no pod of theirs lives: (group, Unix time of what it processed last).
SELECT g.name, min(CASE WHEN p.checkpoint_at > 0 THEN p.checkpoint_at / 1e9 ELSE extract(epoch FROM g.created_at) END
                  )::float8
FROM groups g JOIN partitions p ON p.group_name = g.name
WHERE g.retired_at IS NULL AND NOT p.standby
  AND NOT EXISTS (SELECT FROM pods d WHERE d.group_name = g.name AND d.expires_at > clock_timestamp())
GROUP BY g.name ORDER BY g.name

-- name: known_kinds
SELECT kind FROM kinds

-- name: several_tenants
-- From both ends of an index.
SELECT coalesce(min(tenant) <> max(tenant), false) FROM actors

-- name: oldest_unsent
-- When the oldest message was written that some outbox has still to send; those of retired groups do not count.
SELECT min(o.at) FROM outbox o JOIN partitions p ON p.lane = o.lane JOIN groups g ON g.name = p.group_name
WHERE g.retired_at IS NULL

-- name: oldest_running
-- Since when the oldest execution runs or waits to be tried again; what it asked others it asks again.
SELECT min(p.since) FROM pending p JOIN partitions l ON l.lane = p.lane JOIN groups g ON g.name = l.group_name
WHERE p.state <> 'waiting' AND g.retired_at IS NULL

-- name: trim_inbox
-- An answer is kept for the window, and longer while the stream, an outbox, a timer or an execution may still repeat
-- what it answers. An execution that is started again asks others what it asked before, under the same ids. What retired
-- groups have does not count.
WITH gone AS (DELETE FROM inbox WHERE ctid = ANY(ARRAY(
    SELECT i.ctid FROM inbox i
    WHERE i.at < least(now() - make_interval(secs => %(age_s)s), %(oldest_message)s, %(oldest_unsent)s,
                       (SELECT min(p.since) FROM pending p JOIN partitions l ON l.lane = p.lane
                        JOIN groups g ON g.name = l.group_name WHERE p.state <> 'waiting' AND g.retired_at IS NULL))
      AND NOT EXISTS (SELECT FROM pending p WHERE p.actor = i.actor AND p.command_id = i.command_id)
      AND NOT EXISTS (SELECT FROM timers t WHERE t.actor = i.actor AND t.fire_id = i.command_id)
    LIMIT %(limit)s)) RETURNING 1)
SELECT count(*) FROM gone

-- name: to_vacuum
-- Tables of these that need it. A crash makes Postgres forget what it has counted, and which pages of the indexes are
-- free; until a vacuum that has something to delete finds them again, the indexes grow with each row. So the first one
-- since is for any row.
SELECT c.relname::text FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.oid = ANY(%(tables)s::regclass[])
  AND CASE WHEN s.vacuum_count = 0 THEN s.n_dead_tup > 0
           ELSE s.n_dead_tup >= greatest(%(rows)s, %(share)s * c.reltuples)
                AND s.last_vacuum < clock_timestamp() - make_interval(secs => %(again_s)s) END
  -- Or it would be skipped with a warning each time: before PostgreSQL 17 only the owner may.
  AND CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN')
           ELSE pg_has_role(c.relowner, 'USAGE') END
  AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.mode = 'ShareUpdateExclusiveLock'
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))

-- name: trim_refused
-- A refusal is kept as long as an answer is.
DELETE FROM refused WHERE ctid = ANY(ARRAY(
    SELECT r.ctid FROM refused r
    WHERE r.at < least(now() - make_interval(secs => %(age_s)s), %(oldest_message)s, %(oldest_unsent)s)
    LIMIT %(limit)s))

-- name: park_unknown
-- Unless it was processed, or refused, while its kind was served.
INSERT INTO dead_letters (actor, tenant, kind, key, method, command_id, headers, body, code, error, attempts)
SELECT u.actor, %(tenant)s, %(kind)s, %(key)s, %(method)s, u.command_id, %(headers)s, %(body)s, 'unknown_kind',
       %(error)s, 0
FROM (VALUES (%(actor)s::uuid, %(command_id)s::text)) u(actor, command_id)
WHERE NOT EXISTS (SELECT FROM inbox i WHERE i.actor = u.actor AND i.command_id = u.command_id)
  AND NOT EXISTS (SELECT FROM pending p WHERE p.actor = u.actor AND p.command_id = u.command_id)
  AND NOT EXISTS (SELECT FROM refused r WHERE r.actor = u.actor AND r.command_id = u.command_id AND r.digest = %(digest)s)
ON CONFLICT (actor, command_id) WHERE status = 'parked' DO NOTHING

-- name: save_snapshots
INSERT INTO snapshots (actor, tenant, seq, fold_version, state)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::text[], %s::text[])
ON CONFLICT (actor) DO UPDATE SET seq = excluded.seq, fold_version = excluded.fold_version, state = excluded.state,
    at = now()
WHERE snapshots.seq <= excluded.seq OR snapshots.fold_version <> excluded.fold_version
