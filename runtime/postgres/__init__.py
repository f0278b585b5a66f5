"""The adapters to Postgres: the only place that imports psycopg.

    migrate.py      numbered migrations (migrations/*.sql)
    queries.sql     every statement of the commit path and of ownership, by name
    arrays.py       array literals, built fast
    pipeline.py     prepared statements in one round trip, straight on libpq
    connection.py   connections with the settings their work needs
    commit_log.py   the commit path (port: runtime.host.ports.CommitLog)
    ownership.py    membership and leases (port: runtime.host.ports.Ownership)
    reading.py      reading the log: one actor, by time, or the whole log by position vector; journals.py: of executions
"""
