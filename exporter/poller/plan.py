"""Which requests about single jobs follow a list, the most urgent first.

Active jobs come first: their details and their training rows in turn, each from the job that was asked about longest
ago. One request in ten is for the others: jobs of unknown status, and finished jobs until their details have arrived
once. Finished jobs past their retention come after everything else. Requests that do not fit between two lists are left
to the next plan, so that those about active jobs never wait for others.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf
from typing import Literal

from exporter.state import AccountView, Endpoint, JobState, Verdict, gives_steps, is_past, rows_awaited

_OTHERS = 10  # one request in so many is not about an active job
_UNKNOWN_INTERVAL = 600.0  # seconds between requests about a job of unknown status
_SILENCE = 600.0  # seconds without a new row after which all rows are requested
_BEFORE_DEADLINE = 300.0  # seconds before a deadline from which training rows are requested


@dataclass(frozen=True, slots=True)
class Schedule:
    """How an account is polled; times are seconds."""

    active: float = 30.0
    """Interval of the list while any job is active."""
    idle: float = 60.0
    """Interval of the list while none is."""
    details: Literal["auto", "always", "off"] = "auto"
    concurrency: int = 4
    """The most requests about single jobs at a time."""
    requests_per_minute: int = 120
    """The most requests about single jobs in any minute."""
    training: bool = False
    """Whether training rows of all running jobs are requested."""


@dataclass(frozen=True, slots=True)
class Task:
    """A request about one job. `ended` is whether the job has ended, `step` the first training step wanted."""

    endpoint: Endpoint
    job_id: str
    ended: bool
    step: int = 0

    @property
    def key(self) -> tuple[Endpoint, str]:
        """What the last attempt is remembered by."""
        return self.endpoint, self.job_id


Asked = Callable[[Task], float]
"""When a task was last attempted (unix seconds); infinite if it is not to be attempted now, 0 if it never was."""


def plan(view: AccountView, schedule: Schedule, asked: Asked) -> list[Task]:
    """The requests to make after a list, the most urgent first."""
    if schedule.details == "off" and not schedule.training:
        return []
    details: list[Task] = []
    rows: list[Task] = []
    unknown: list[Task] = []
    finished: list[tuple[float, Task]] = []
    last: list[tuple[float, Task]] = []
    state, limit = view.state, (view.state.last_list or 0.0) - view.settings.retention
    for job_id, job in state.jobs.items():
        if job.missing_since is not None:
            continue
        if job.job.status.active:
            details += _details(job, schedule)
            if _wants_rows(job, view.verdicts[job_id], view, schedule, asked):
                rows.append(_rows(job, state.now))
        elif job.job.status.ended:
            if tasks := _once(job, schedule, state.now):
                (last if is_past(job, limit) else finished).extend((job.finished or inf, task) for task in tasks)
        elif not is_past(job, limit):
            unknown += (task for task in _details(job, schedule) if asked(task) < state.now - _UNKNOWN_INTERVAL)
    details, rows = _due(details, asked), _due(rows, asked)
    others, past = _due([*unknown, *_newest_first(finished)], asked), _due(_newest_first(last), asked)
    active = _in_turn(details, rows)
    room = ceil(schedule.requests_per_minute * (view.state.polls.interval or schedule.active) / 60)
    return [*_shared(active, others), *past][: max(room, len(active) * _OTHERS // (_OTHERS - 1))]


def next_step(state: JobState, now: float) -> int:
    """The first training step that is not known at `now` (unix seconds); 0 for all, also after a job went back."""
    if state.training is None:
        return 0
    if state.job.status.phase == "running" and state.life.observed and state.life.newest_row is None:
        return 0  # no row since the run started or went back
    done, step = state.fields.get("steps_completed"), state.training.step
    # Without steps, a job that went back seems to write nothing new: its rows are of steps that are known.
    silent = now - (state.training.time or 0.0) > _SILENCE
    went_back = silent if done is None else done < step
    return 0 if went_back else step + 1


def _details(state: JobState, schedule: Schedule) -> Iterator[Task]:
    ended = state.job.status.ended
    if schedule.details == "always" or (schedule.details == "auto" and not state.whole):
        yield Task("retrieve", state.job.id, ended)
    elif schedule.details != "off" and state.job.events is None:
        yield Task("events", state.job.id, ended)


def _once(state: JobState, schedule: Schedule, now: float) -> list[Task]:
    """What is wanted once of a job that has ended."""
    tasks: list[Task] = []
    if not state.final:
        tasks += _details(state, schedule)
    elif schedule.details != "off" and state.job.events is None:
        tasks.append(Task("events", state.job.id, ended=True))
    if schedule.training and state.training:
        tasks.append(_rows(state, now))
    return tasks


def _rows(state: JobState, now: float) -> Task:
    return Task("metrics", state.job.id, state.job.status.ended, next_step(state, now))


def _wants_rows(state: JobState, verdict: Verdict, view: AccountView, schedule: Schedule, asked: Asked) -> bool:
    """Whether training rows are wanted: for their metrics, or because the verdict needs them."""
    if state.job.status.phase != "running":
        return False
    if schedule.training:
        return True
    if schedule.details == "off":
        return False
    if rows_awaited(state) and not state.life.observed:
        return True
    now, threshold = view.state.now, view.settings.stuck_after[state.job.status.name]
    if not gives_steps(state) and asked(_rows(state, now)) <= now - threshold / 2:
        return True
    checked = view.state.last_list if state.whole else state.detailed_at
    if gives_steps(state) and checked is not None and checked >= now - threshold / 4:
        return False
    early = min(_BEFORE_DEADLINE, threshold / 4)
    return verdict.deadline is None or now >= verdict.deadline - early


def _newest_first(finished: list[tuple[float, Task]]) -> list[Task]:
    return [task for _, task in sorted(finished, key=lambda pair: pair[0], reverse=True)]


def _due(tasks: Iterable[Task], asked: Asked) -> list[Task]:
    """The tasks that may be attempted now, from the one attempted longest ago."""
    dated = [(asked(task), task) for task in tasks]
    return [task for at, task in sorted((pair for pair in dated if pair[0] < inf), key=lambda pair: pair[0])]


def _in_turn(some: list[Task], others: list[Task]) -> list[Task]:
    longest = max(len(some), len(others))
    return [task for n in range(longest) for tasks in (some, others) for task in tasks[n : n + 1]]


def _shared(active: list[Task], others: list[Task]) -> Iterator[Task]:
    left = iter(others)
    for number, task in enumerate(active, start=1):
        yield task
        if number % (_OTHERS - 1) == 0:
            yield from islice(left, 1)
    yield from left
