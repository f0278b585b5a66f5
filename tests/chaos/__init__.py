"""Chaos: real processes are killed, frozen and replaced while a seeded load runs, and everything is counted.

__main__.py    python -m tests.chaos --seconds 60 --seed 1
settings.py    what one run is
run.py         one run, from the servers to the verdict
world.py       pods and gateways on a stage
stage/         the servers, and what can be done to them
faults/        which faults, in which order
allowances.py  what each of them may do to the promises
deploy.py      pinned versions that are promoted meanwhile
kinds.py       the actors under load; flows.py the workflows; agents.py the agents, and rote.py their model; outside.py
               what their steps do
load.py        the load, a process of its own: programs.py by actor (flow_program.py by workflow, agent_program.py by
               conversation), over calls.py (our client), raw.py (plain nats-py) and web.py (HTTP); readers.py reads
               sessions
record.py      what the load writes down
watch.py       what the broker stored
untaken.py     what of it no lane has taken
log.py         what a run left in Postgres
closing.py     what is asked of the system at the end
evidence.py    all of that together, and the verdict
verify.py      the verdict found: check_log.py, check_record.py, check_flows.py, check_agents.py, check_steps.py,
               check_streams.py, check_shown.py, lives.py (deleted actors)
report.py      the verdict said, and the journal of an actor when it is bad
planted/       known bugs that pods can be given, each of which chaos must catch
"""
