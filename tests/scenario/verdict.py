"""Whether what fires in a scenario is as expected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.scenario.file import DAY, MINUTE, Expected, Scenario

Alert = Mapping[str, str]
"""The labels of an alert that fires."""

_PREFIX = "TogetherFinetune"
_COLUMNS = ("scenario", "days", "alerts", "expected", "false", "missed", "precision", "recall", "lingers", "delays")


@dataclass
class Verdict:
    """How what fired compares with what was expected, counted in evaluations.

    `delays` has the alerts that were expected and fired, each with its seconds from the event; `lingering` those that
    went on after their reason was gone, each with the seconds.
    """

    name: str
    days: float
    hits: int = 0
    false: list[tuple[float, Alert]] = field(default_factory=list)
    missed: list[tuple[float, Expected]] = field(default_factory=list)
    repeated: list[tuple[float, Expected]] = field(default_factory=list)
    delays: list[tuple[str, float]] = field(default_factory=list)
    lingering: list[tuple[str, float]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """The part of what fired that was expected."""
        return self.hits / (self.hits + len(self.false)) if self.hits or self.false else 1.0

    @property
    def recall(self) -> float:
        """The part of what was expected that fired."""
        return self.hits / (self.hits + len(self.missed)) if self.hits or self.missed else 1.0

    def complaints(self) -> list[str]:
        """What fired against the expectation and what did not, each with its minutes."""
        minutes: dict[str, list[float]] = {}
        for at, alert in self.false:
            minutes.setdefault("false: " + _shown(alert), []).append(at)
        for what, moments in (("missed", self.missed), ("fires again", self.repeated)):
            for at, expected in moments:
                text = f"{what}: " + _shown({"alertname": expected.alert, **expected.labels})
                minutes.setdefault(text, []).append(at)
        return [f"{text} at {_spans(moments)}" for text, moments in minutes.items()]


def judge(scenario: Scenario, name: str, found: Mapping[float, Sequence[Alert]]) -> Verdict:
    """Compares what fires at each evaluation with what is expected then, but for when Prometheus was down: nothing was
    evaluated there."""
    verdict = Verdict(name, scenario.lasts / DAY)
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    firing: dict[int, Alert] = {}
    for at, alerts in found.items():
        if scenario.is_down("prometheus", at):
            continue
        left = [alert for alert in alerts if alert["alertname"] not in scenario.besides]
        # What must fire goes first, so that what merely may does not take its alert.
        for number, expected in sorted(enumerate(scenario.expect), key=lambda pair: not pair[1].must(at)):
            alert = next(filter(expected.names, left), None) if expected.may(at) else None
            if alert is None:
                verdict.missed += [(at, expected)] if expected.must(at) else []
                firing.pop(number, None)
                continue
            left.remove(alert)
            verdict.hits += expected.must(at)
            if number in first and firing.get(number) != alert:
                verdict.repeated.append((at, expected))
            first.setdefault(number, at)
            last[number], firing[number] = at, alert
        verdict.false += [(at, alert) for alert in left]
    for number, at in first.items():
        expected = scenario.expect[number]
        verdict.delays.append((expected.alert, at - (expected.since if expected.event is None else expected.event)))
        verdict.lingering.append((expected.alert, max(last[number] - expected.until, 0.0)))
    return verdict


def _shown(alert: Alert) -> str:
    left_out = ("__name__", "alertname", "alertstate", "instance", "job")
    return f"{alert['alertname']}{ {name: text for name, text in alert.items() if name not in left_out} }"


def _spans(moments: list[float]) -> str:
    """Moments in ascending order as minutes, those next to each other as a span."""
    spans: list[list[float]] = []
    for at in moments:
        if spans and at - spans[-1][1] <= 2 * MINUTE:
            spans[-1][1] = at
        else:
            spans.append([at, at])
    return ", ".join(f"{first / MINUTE:g}..{last / MINUTE:g} min" for first, last in spans)


def table(verdicts: Iterable[Verdict]) -> str:
    """The verdicts and their totals as text, a line each; delays and lingering are minutes."""
    verdicts = list(verdicts)
    total = Verdict(f"all {len(verdicts)}", sum(verdict.days for verdict in verdicts))
    lines = [_line(*_COLUMNS)]
    for verdict in verdicts:
        total.hits += verdict.hits
        total.false += verdict.false
        total.missed += verdict.missed
        total.delays += verdict.delays
        total.lingering += verdict.lingering
        delays = ", ".join(f"{alert.removeprefix(_PREFIX)} {delay / MINUTE:g}" for alert, delay in verdict.delays)
        lines += [_row(verdict, delays), *(f"    {complaint}" for complaint in verdict.complaints())]
    longest = max((delay, alert.removeprefix(_PREFIX)) for alert, delay in [*total.delays, ("none", 0.0)])
    return "\n".join([*lines, _row(total, f"longest: {longest[1]} {longest[0] / MINUTE:g}")])


def _row(verdict: Verdict, delays: str) -> str:
    return _line(
        verdict.name,
        f"{verdict.days:.1f}",
        len(verdict.delays),
        verdict.hits + len(verdict.missed),
        len(verdict.false),
        len(verdict.missed),
        f"{verdict.precision:.3f}",
        f"{verdict.recall:.3f}",
        f"{max((seconds for _, seconds in verdict.lingering), default=0.0) / MINUTE:g}",
        delays,
    )


def _line(*cells: object) -> str:
    widths = (-36, 5, 7, 9, 6, 7, 10, 7, 8, -1)
    return "  ".join(
        str(cell).ljust(-width) if width < 0 else str(cell).rjust(width)
        for cell, width in zip(cells, widths, strict=True)
    ).rstrip()
