-- The ids of one client grow, so that its answers are neighbours in this order: their look-up and their insertion find
-- the same page again, and take half the time. By actor first, each command went to a page of its own.
ALTER TABLE inbox DROP CONSTRAINT inbox_pkey, ADD PRIMARY KEY (command_id, actor);
