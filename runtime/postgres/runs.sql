-- Runs: those that go on are pending rows, those that ended rows of the table runs. One statement sees each in one of them.

-- name: list_runs
SELECT * FROM (
    (SELECT p.actor::text, p.kind, p.key, p.method, p.command_id, p.digest,
            run_state(p.state, p.due_at, p.headers) AS status,
            p.attempts, p.tags, p.since, p.due_at, p.expires_at, NULL::timestamptz AS ended_at, NULL::text AS code, p.error
     FROM pending p
     WHERE p.tenant = %(tenant)s AND p.tags IS NOT NULL
       AND (p.since, p.actor, p.command_id) < (%(before)s::timestamptz, %(before_actor)s::uuid, %(before_id)s::text)
       AND (%(kind)s::text IS NULL OR p.kind = %(kind)s) AND (%(key)s::text IS NULL OR p.key = %(key)s)
       AND (%(tag)s::text IS NULL OR p.tags @> ARRAY[%(tag)s::text])
       AND (%(from)s::timestamptz IS NULL OR p.since >= %(from)s)
       AND run_state(p.state, p.due_at, p.headers)
           = ANY(%(live)s::text[])
     ORDER BY p.since DESC, p.actor DESC, p.command_id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT r.actor::text, r.kind, r.key, r.method, r.command_id, r.digest, r.status, r.attempts, r.tags, r.since, NULL,
            NULL, r.ended_at, r.code, r.error
     FROM runs r
     WHERE r.tenant = %(tenant)s
       AND (r.since, r.actor, r.command_id) < (%(before)s::timestamptz, %(before_actor)s::uuid, %(before_id)s::text)
       AND (%(kind)s::text IS NULL OR r.kind = %(kind)s) AND (%(key)s::text IS NULL OR r.key = %(key)s)
       AND (%(tag)s::text IS NULL OR (r.tags @> ARRAY[%(tag)s::text] AND r.tags <> '{}'))
       AND (%(from)s::timestamptz IS NULL OR r.since >= %(from)s)
       AND r.status = ANY(%(ended)s::text[])
     ORDER BY r.since DESC, r.actor DESC, r.command_id DESC LIMIT %(limit)s)) found
ORDER BY since DESC, actor DESC, command_id DESC LIMIT %(limit)s

-- name: one_run
SELECT p.actor::text, p.kind, p.key, p.method, p.command_id, p.digest,
       run_state(p.state, p.due_at, p.headers),
       p.attempts, p.tags, p.since, p.due_at, p.expires_at, NULL::timestamptz, NULL::text, p.error, p.body,
       p.headers::json ->> 'Content-Type',
       (SELECT count(*) FROM pending q WHERE q.lane = p.lane AND q.actor = p.actor AND q.holds AND q.ord < p.ord)
FROM pending p WHERE p.actor = %(actor)s AND p.command_id = %(command_id)s AND p.tenant = %(tenant)s AND p.tags IS NOT NULL
UNION ALL
SELECT r.actor::text, r.kind, r.key, r.method, r.command_id, r.digest, r.status, r.attempts, r.tags, r.since, NULL, NULL,
       r.ended_at, r.code, r.error, r.body, r.content_type, 0
FROM runs r WHERE r.actor = %(actor)s AND r.command_id = %(command_id)s AND r.tenant = %(tenant)s

-- name: key_holder
SELECT p.command_id, p.method,
       run_state(p.state, p.due_at, p.headers), p.since,
       p.attempts, p.error, p.due_at
FROM pending p WHERE p.actor = %(actor)s AND p.holds ORDER BY p.ord LIMIT 1

-- name: run_moments
-- The conditions on the types are those of the two indexes.
SELECT * FROM (
    (SELECT seq, at, type, command_id, causation_id, principal, payload::text FROM events
     WHERE actor = %(actor)s AND partition = %(partition)s AND command_id = %(command_id)s AND seq > %(after)s
       AND type IN ('troupe.step', 'troupe.signal', 'troupe.update', 'troupe.cancel', 'troupe.answer')
     ORDER BY seq LIMIT %(limit)s)
    UNION ALL
    (SELECT seq, at, type, command_id, causation_id, principal, payload::text FROM events
     WHERE actor = %(actor)s AND partition = %(partition)s AND command_id = %(command_id)s AND seq > %(after)s
       AND type IN ('troupe.attempt', 'troupe.terminate', 'troupe.parked', 'troupe.replayed', 'troupe.dropped')
     ORDER BY seq LIMIT %(limit)s)) found
ORDER BY seq LIMIT %(limit)s

-- name: steps_before
-- (steps up to a sequence, all steps), without the mark of a fork.
SELECT count(*) FILTER (WHERE seq <= %(after)s), count(*) FROM events
WHERE actor = %(actor)s AND partition = %(partition)s AND command_id = %(command_id)s
  AND payload ->> 'step' <> '$forked'
  AND type = 'troupe.step'
  AND type IN ('troupe.step', 'troupe.signal', 'troupe.update', 'troupe.cancel', 'troupe.answer')

-- name: parked_letter
SELECT id FROM dead_letters WHERE actor = %(actor)s AND command_id = %(command_id)s AND status = 'parked'

-- name: trim_runs
WITH gone AS (DELETE FROM runs WHERE ctid = ANY(ARRAY(
    SELECT r.ctid FROM runs r WHERE r.ended_at < now() - make_interval(secs => %(age_s)s) AND r.status <> 'parked'
    LIMIT %(limit)s)) RETURNING 1)
SELECT count(*) FROM gone
