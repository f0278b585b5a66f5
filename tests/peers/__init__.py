"""The same work on the engine and on its peers, in turn, in one run; each is counted in each one's own store.

__main__.py     python -m tests.peers [--only name,...] [--stage sweep,measure] [--seconds N] [--rounds N]
peer.py         what a peer is; work.py what is done on each
ours.py         the engine                        prototype.py      the bare prototype of its design: the ceiling
restate.py      Restate, its Python SDK           dbos.py           DBOS
eventsourcing.py                                  langgraph.py      LangGraph's Postgres checkpointer
sweep.py        each peer's best settings         measuring.py      rounds in turn
results.py      what was found, kept and merged   ratios.py         ours over theirs: bench-peers.json
report.py       docs/benchmarks.md
packages.py     each peer's packages in an environment of its own, under .peers
loading.py      processes of load, and their sum
programs/       what runs in the peers' own environments; it imports nothing of ours but this benchmark's load
"""
