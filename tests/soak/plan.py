"""What happens in a run: a pure function of its seed."""

import random
from collections.abc import Container, Iterator
from dataclasses import dataclass

from tests.soak.faults import ANSWERS, FAULTS, HEAVY

WAYS = ("plain", "tls", "proxy", "tunnel")
"""How the exporter reaches an API: directly or through a proxy, each with HTTP and HTTPS."""

_CLOCKS = (0.0, 600.0, 3600.0, 2 * 86400.0, 5 * 86400.0)


@dataclass(frozen=True)
class Event:
    """A fault that one of the APIs has; `endpoint` is which requests it affects."""

    way: str
    fault: str
    endpoint: str = "list"


@dataclass(frozen=True)
class Step:
    """What happens at the same time: an event at each API, and a clock that is so many seconds ahead."""

    number: int
    events: tuple[Event, ...]
    clock: float

    def __str__(self) -> str:
        events = "; ".join(f"{event.way}: {event.fault} ({event.endpoint})" for event in self.events)
        return f"step {self.number}, clock +{self.clock:.0f}s: {events}"


def plan(seed: int, events: int, *, heavy: bool = True) -> list[Step]:
    """The steps of a run with so many events, at least; without heavy ones if a run should be short."""
    chance = random.Random(seed)
    decks = {way: _deck(way, chance, () if heavy else HEAVY) for way in WAYS}
    clock = 0.0
    steps = []
    for number in range(-(-events // len(WAYS))):
        if chance.random() < 0.3:
            clock = chance.choice(_CLOCKS)
        steps.append(Step(number, tuple(next(decks[way]) for way in WAYS), clock))
    return steps


def _deck(way: str, chance: random.Random, without: Container[str]) -> Iterator[Event]:
    """Every event that is possible there, in random order, again and again."""
    events = [Event(way, name) for name, fault in FAULTS.items() if way in fault.ways and name not in without]
    events += [Event(way, name, "retrieve") for name in ANSWERS]
    while True:
        chance.shuffle(events)
        yield from events
