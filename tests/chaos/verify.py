"""The verdict: the log by itself, and the log against what callers, readers and the outside were told."""

from __future__ import annotations

from tests.chaos import check_agents, check_flows, check_log, check_record, check_shown, check_steps, check_streams
from tests.chaos.evidence import Evidence, Verdict


def verify(evidence: Evidence) -> Verdict:
    """Compares everything with everything."""
    verdict = Verdict()
    check_log.check(evidence, verdict)
    check_record.check(evidence, verdict)
    check_steps.check(evidence, verdict)
    check_agents.check(evidence, verdict)
    check_streams.check(evidence, verdict)
    check_shown.check(evidence, verdict)
    astray = check_flows.strays(evidence)
    verdict.stuck += [finding for finding in evidence.log.left if finding[0] not in astray]
    return verdict
