"""Each peer's best settings for a work: one setting after the other, each kept at the best of its values."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from tests.bench.stage import Miscounted
from tests.peers.peer import Axes, LeftOut
from tests.peers.work import Outcome, Setting, Work


class Trial(Struct):
    """One setting that was tried. `outcome` is None where the peer failed under it, and `failure` says how."""

    setting: Setting
    outcome: Outcome | None = None
    failure: str = ""


class Sweep(Struct):
    """The best setting, and all that were tried."""

    best: Setting
    trials: list[Trial]


def sweep(work: Work, axes: Axes, measure: Callable[[Setting], Outcome], say: Callable[[str], None]) -> Sweep:
    """Tries the values of each axis in turn, with the others at the best so far, or else at their first.

    Raises LeftOut when the peer could do the work under no setting.
    """
    trials: list[Trial] = []
    best: Setting = {name: values[0] for name, values in axes.items()}

    def merit(setting: Setting) -> float:
        trial = next((trial for trial in trials if trial.setting == setting), None)
        if trial is None:
            trial = _try(setting, measure)
            trials.append(trial)
            found = trial.failure or f"{trial.outcome.per_s:,.0f}/s, p50 {trial.outcome.p50_ms:.2f} ms"  # type: ignore[union-attr]  # one of the two is there
            say(f"  {described(setting)}: {found}")
        return float("-inf") if trial.outcome is None else trial.outcome.merit(work)

    for name, values in axes.items():
        if len(values) > 1 or not trials:
            best = max(({**best, name: value} for value in values), key=merit)
    if merit(best) == float("-inf"):
        raise LeftOut(f"it failed under every setting; the last time with: {trials[-1].failure}")
    return Sweep(best, trials)


def described(setting: Setting) -> str:
    """A setting in words."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in setting.items())


def _try(setting: Setting, measure: Callable[[Setting], Outcome]) -> Trial:
    try:
        return Trial(setting, measure(setting))
    except (Miscounted, RuntimeError, OSError) as error:
        return Trial(setting, None, f"{type(error).__name__}: {error}"[:300])
