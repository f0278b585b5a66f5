-- The documents of indexes. Columns of a hit always in this order: id, text, meta, seq, model.

-- name: index_reached
SELECT coalesce((SELECT seq FROM indexed WHERE actor = %(actor)s AND version = %(version)s), 0)

-- name: index_begin
INSERT INTO indexed (actor, tenant, version, seq) VALUES (%(actor)s, %(tenant)s, %(version)s, 0)
ON CONFLICT (actor) DO NOTHING

-- name: index_lock
SELECT CASE WHEN version = %(version)s THEN seq ELSE 0 END FROM indexed WHERE actor = %(actor)s FOR UPDATE

-- name: index_clear
DELETE FROM documents WHERE actor = %(actor)s

-- name: index_put
INSERT INTO documents (actor, id, tenant, seq, text, words, meta, model, embedding)
VALUES (%(actor)s, %(id)s, %(tenant)s, %(seq)s, %(text)s, to_tsvector('english', %(text)s), %(meta)s::jsonb, %(model)s,
        %(embedding)s::real[])
ON CONFLICT (actor, id) DO UPDATE SET seq = excluded.seq, text = excluded.text, words = excluded.words,
    meta = excluded.meta, model = excluded.model, embedding = excluded.embedding

-- name: index_drop
DELETE FROM documents WHERE actor = %(actor)s AND id = %(id)s

-- name: index_embed
UPDATE documents SET seq = %(seq)s, model = %(model)s, embedding = %(embedding)s::real[]
WHERE actor = %(actor)s AND id = %(id)s

-- name: index_move
UPDATE indexed SET version = %(version)s, seq = %(upto)s WHERE actor = %(actor)s

-- name: index_by_text
-- A document needs one of the words: people ask in sentences. `&` within a word is harmless, since words are quoted.
WITH asked AS (SELECT replace(plainto_tsquery('english', %(text)s)::text, ' & ', ' | ')::tsquery AS words)
SELECT d.id, d.text, d.meta::text, d.seq, d.model, NULL::float8
FROM documents d, asked
WHERE d.actor = %(actor)s AND d.words @@ asked.words
  AND (%(filter)s = '' OR jsonb_path_exists(d.meta, nullif(%(filter)s, '')::jsonpath, silent => true))
ORDER BY ts_rank(d.words, asked.words, 1) DESC, d.id LIMIT %(limit)s

-- name: index_by_vector
-- Exactly, over the documents of one actor: an approximate index would give other answers after a rebuild.
SELECT id, text, meta, seq, model, likeness FROM (
    SELECT d.id, d.text, d.meta::text, d.seq, d.model,
           1 - (d.embedding::{vector}.vector OPERATOR({vector}.<=>) %(vector)s::real[]::{vector}.vector) AS likeness
    FROM documents d
    WHERE d.actor = %(actor)s AND d.model = %(model)s AND cardinality(d.embedding) = cardinality(%(vector)s::real[])
      AND (%(filter)s = '' OR jsonb_path_exists(d.meta, nullif(%(filter)s, '')::jsonpath, silent => true))
    OFFSET 0) found
WHERE likeness >= %(least)s ORDER BY likeness DESC, id LIMIT %(limit)s

-- name: index_listed
SELECT id, text, meta::text, seq, model, NULL::float8 FROM documents
WHERE actor = %(actor)s
  AND CASE WHEN %(ids)s::text[] IS NULL THEN id > %(after)s ELSE id = ANY(%(ids)s::text[]) END
  AND (%(filter)s = '' OR jsonb_path_exists(meta, nullif(%(filter)s, '')::jsonpath, silent => true))
ORDER BY id LIMIT %(limit)s

-- name: index_vectors
-- The schema in which the extension is, for {vector} above: whoever had it before us has it elsewhere.
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'

-- name: drop_documents
WITH gone AS (DELETE FROM documents WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
                                      AND (%(actor)s::uuid IS NULL OR actor = %(actor)s) RETURNING 1),
     forgotten AS (DELETE FROM indexed WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
                                         AND (%(actor)s::uuid IS NULL OR actor = %(actor)s))
SELECT count(*) FROM gone

-- name: erase_documents
DELETE FROM documents WHERE actor = %(actor)s AND seq < %(seq)s
