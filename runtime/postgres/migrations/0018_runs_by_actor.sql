-- Runs are found by their actor in the order of their own key: one index for that and for an actor's deletion.
DROP INDEX runs_of_actor;
ALTER TABLE runs DROP CONSTRAINT runs_pkey, ADD PRIMARY KEY (actor, command_id);
