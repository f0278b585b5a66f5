-- Groups: which is current for which kinds, and the promotion of another one (docs/adr/0007).

-- name: list_groups
-- (group, its code versions, kinds it is current for, kinds its pods can serve, living pods, lanes, of them with a living
-- owner who stays, whether they stand by, lowest checkpoint, since when it is retired, its stream)
SELECT g.name,
       (SELECT coalesce(array_agg(DISTINCT d.code_version), '{}') FROM pods d
        WHERE d.group_name = g.name AND d.expires_at > clock_timestamp()),
       (SELECT coalesce(array_agg(k.kind ORDER BY k.kind), '{}') FROM kinds k WHERE k.group_name = g.name),
       (SELECT coalesce(array_agg(s.kind ORDER BY s.kind), '{}') FROM group_kinds s WHERE s.group_name = g.name),
       (SELECT count(*) FROM pods d WHERE d.group_name = g.name AND d.expires_at > clock_timestamp()),
       l.lanes, l.owned, l.standby, l.checkpoint, g.retired_at, g.stream
FROM groups g
LEFT JOIN LATERAL (SELECT count(*) AS lanes, count(*) FILTER (WHERE o.id IS NOT NULL) AS owned,
                          coalesce(bool_or(p.standby), false) AS standby, min(p.checkpoint) AS checkpoint
                   FROM partitions p
                   LEFT JOIN pods o ON o.id = p.owner AND o.group_name = p.group_name AND NOT o.leaving
                                   AND o.expires_at > clock_timestamp()
                   WHERE p.group_name = g.name) l ON true
ORDER BY g.ordinal

-- name: group_exists
SELECT 1 FROM groups WHERE name = %s

-- name: replaced_groups
-- The groups whose kinds the group's pods serve.
SELECT DISTINCT k.group_name FROM kinds k JOIN group_kinds g ON g.kind = k.kind
WHERE g.group_name = %s AND k.group_name <> %s

-- name: lock_lanes
-- Waits for the commits that are under way, in the order in which pods lock; no other commit begins until the end.
SELECT lane FROM partitions WHERE group_name = ANY(%s) ORDER BY lane FOR UPDATE

-- name: unready_lanes
-- Standby lanes of the group without a living owner who stays.
SELECT count(*) FROM partitions p
WHERE p.group_name = %s AND NOT EXISTS (SELECT FROM pods d WHERE d.id = p.owner AND d.group_name = p.group_name
                                        AND NOT d.leaving AND d.expires_at > clock_timestamp())

-- name: unserved_kinds
-- Kinds of the old group that the owner of some lane of the new group does not serve.
SELECT k.kind FROM kinds k WHERE k.group_name = %s
AND EXISTS (SELECT FROM partitions p WHERE p.group_name = %s AND NOT p.kinds @> ARRAY[k.kind::text]) ORDER BY k.kind

-- name: remove_standby
DELETE FROM partitions WHERE group_name = %s AND standby RETURNING lane, partition, epoch

-- name: hand_over_live
-- The live lanes change their group. Their owners keep them, fenced by the epoch, until they yield or their lease is over.
UPDATE partitions SET group_name = %s, epoch = epoch + 1 WHERE group_name = %s AND NOT standby

-- name: insert_standby
INSERT INTO partitions (lane, group_name, partition, epoch, standby)
SELECT u.lane, %s, u.partition, u.epoch + 1, true FROM unnest(%s::int[], %s::int[], %s::bigint[]) u(lane, partition, epoch)

-- name: unblame_executions
-- What runs is stopped by the promotion, and not by a fault of its own: it starts again at no cost. An update does not
-- run: its state says that its handler was told. With a time, since what has none has not begun (a timer's command could
-- still be cancelled).
UPDATE pending q SET state = 'waiting', attempts = greatest(q.attempts - 1, 0), due_at = now()
FROM partitions p WHERE p.lane = q.lane AND p.group_name = %s AND q.state = 'running'
  AND q.method <> '$update'

-- name: make_current
INSERT INTO kinds (kind, group_name, code_version, capability)
SELECT kind, group_name, code_version, capability FROM group_kinds WHERE group_name = %s
ON CONFLICT (kind) DO UPDATE SET group_name = excluded.group_name, code_version = excluded.code_version,
    capability = excluded.capability, registered_at = now()

-- name: inherit_kinds
-- Kinds that the new group does not serve are its own all the same: their commands wait for a pod of it that does.
UPDATE kinds SET group_name = %(new)s,
    capability = jsonb_set(capability::jsonb, '{group}', to_jsonb(%(new)s::text))::json
WHERE group_name = %(old)s

-- name: retire_group
-- Retires a group in which no pod lives. (ids of those that do)
WITH found AS (SELECT g.name, ARRAY(SELECT d.id::text FROM pods d WHERE d.group_name = g.name
                                    AND d.expires_at > clock_timestamp() ORDER BY d.id) AS pods
               FROM groups g WHERE g.name = %(group)s),
     retired AS (UPDATE groups g SET retired_at = coalesce(g.retired_at, now()) FROM found f
                 WHERE g.name = f.name AND f.pods = '{}' RETURNING g.name)
SELECT f.pods FROM found f LEFT JOIN retired r ON r.name = f.name

-- name: group_leaves
-- (kinds, pending commands, messages to send, timers) of a group.
SELECT ARRAY(SELECT k.kind::text FROM kinds k WHERE k.group_name = %(group)s ORDER BY k.kind),
       (SELECT count(*) FROM pending q JOIN partitions p ON p.lane = q.lane WHERE p.group_name = %(group)s),
       (SELECT count(*) FROM outbox o JOIN partitions p ON p.lane = o.lane WHERE p.group_name = %(group)s),
       (SELECT count(*) FROM timers t JOIN partitions p ON p.lane = t.lane WHERE p.group_name = %(group)s)
