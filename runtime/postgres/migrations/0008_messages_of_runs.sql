-- What was said to an execution is found as its steps are: by the command whose execution it is.
DROP INDEX events_steps;
CREATE INDEX events_runs ON events (actor, command_id, seq)
    WHERE type IN ('troupe.step', 'troupe.signal', 'troupe.update', 'troupe.cancel', 'troupe.answer');
