-- The journal of an execution that starts anew is read by actor and command; other events do not enter this index.
CREATE INDEX events_steps ON events (actor, command_id, seq) WHERE type = 'troupe.step';
