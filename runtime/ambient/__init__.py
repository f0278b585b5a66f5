"""What a handler has around it beside its own actor: names, log, metrics, spans, secrets and configuration.

    step.py             which step runs
    handler.py          what every context (`ctx`) has of all this
    logs.py             lines that a replay does not write again
    metrics.py          numbers that are counted once, with what they belong to
    spans.py            spans of the caller's trace
    secrets.py          where secrets come from, and that they go nowhere else
    configuration.py    values, flags and variants; a run sees each of them once and for all

No host, broker or database: a World has the same (docs/functions.md).
"""
