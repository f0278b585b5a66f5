"""Linearizability per key: what concurrent clients saw of single actors under faults, checked by every possible order.

__main__.py    python -m tests.linearizability --seconds 60 --seed 1
history.py     one operation of one client, with when it was asked and answered
models.py      what each kind of actor does when nobody else is there
checker.py     whether some order explains a history; explain.py says where none does
kinds.py       the actors
ways.py        how an operation reaches an actor: ask, plain NATS, HTTP, submit, query, call front
clients.py     the clients, each with a program by the seed
run.py         servers, pods, a gateway, faults, clients, and the verdict
planted.py     bugs that a pod can be made to have, to see that they are found
"""
