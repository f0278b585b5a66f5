"""Soak: load with faults for as long as one likes, and what it leaves behind in memory, files, tables and streams.

__main__.py    python -m tests.soak --minutes 60
run.py         servers, pods, load, faults and visitors of the gateway, with a sample every so often
elder.py       a world in which one pod is spared, so that what leaks has the time to show
sample.py      one sample: of processes, tables and streams
bounds.py      how much each series may grow, and why
verdict.py     whether it grew more
report.py      docs/soak.md; plot.py: its pictures
"""
