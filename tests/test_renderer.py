"""The loop that renders ahead of the scrapes. Its clock and its waiting are those of the test."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from exporter.exposition import Exposition, Renderer
from exporter.state import Call, DetailsAnswered, ListFailed, Store
from tests.metrics.test_exposition import OPENMETRICS
from tests.support import NOW, job, list_answered, new_store, parse

Steps = Iterator[None]


class Clock:
    """The time of a test; reading it fails with `error`, if any."""

    def __init__(self) -> None:
        self.now = NOW
        self.error: Exception | None = None

    def __call__(self) -> float:
        """The time, in unix seconds."""
        if self.error:
            raise self.error
        return self.now


class Rendering:
    """A renderer whose waiting runs a test: each `yield` in it lets the renderer look once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.stopwatch = Clock()
        self.exposition = Exposition(store, clock=self.clock)
        self.renderer = Renderer(self.exposition, store, stopwatch=self.stopwatch, wait=self._wait)
        self._steps: Steps = iter(())
        self.waits: list[float] = []

    def run(self, test: Callable[["Rendering"], Steps]) -> None:
        """Runs the renderer with this test."""
        self._steps = test(self)
        self.renderer.run()

    def _wait(self, _: threading.Event, seconds: float) -> None:
        self.waits.append(seconds)
        try:
            next(self._steps)
        except StopIteration:
            self.renderer.stop()

    def publish(self, *, epochs: int) -> None:
        """Publishes a list, a moment after the one before."""
        self.clock.now += 0.1
        self.store.publisher("default").apply(list_answered(job(n_epochs=epochs), at=self.clock.now))

    def pass_(self, seconds: float) -> None:
        """Lets time pass."""
        self.clock.now += seconds
        self.stopwatch.now += seconds

    def epochs(self, accept: str = "") -> float | None:
        """What a scrape says of the job's epochs."""
        return epochs(self.renderer, accept)


def epochs(renderer: Renderer, accept: str = "") -> float | None:
    """What a scrape says of the job's epochs."""
    return parse(renderer.page(accept).body.decode()).get_one("job_epochs", account="default", job_id="ft-1")


@contextmanager
def running(store: Store, exposition: Exposition) -> Iterator[tuple[Renderer, threading.Event]]:
    """A renderer in a thread of its own, and what is set whenever it has rendered and waits."""
    waits = threading.Event()

    def wait(changed: threading.Event, _: float) -> None:
        waits.set()
        changed.wait(60)

    renderer = Renderer(exposition, store, wait=wait)
    thread = threading.Thread(target=renderer.run)
    thread.start()
    try:
        assert waits.wait(60)
        yield renderer, waits
    finally:
        renderer.stop()
        thread.join()


@pytest.fixture
def rendering() -> Rendering:
    rendering = Rendering(new_store())
    rendering.publish(epochs=1)
    return rendering


def test_a_scrape_takes_what_the_loop_rendered_last(rendering: Rendering) -> None:
    def test(_: Rendering) -> Steps:
        assert rendering.epochs() == 1
        rendering.publish(epochs=2)
        assert rendering.epochs() == 1
        yield
        assert rendering.epochs() == 2

    rendering.run(test)


def test_without_the_loop_a_scrape_renders(rendering: Rendering) -> None:
    def test(_: Rendering) -> Steps:
        rendering.publish(epochs=2)
        yield

    assert rendering.epochs() == 1
    rendering.run(test)
    rendering.publish(epochs=3)
    assert rendering.epochs() == 3


def test_the_first_scrape_of_a_page_renders_it(rendering: Rendering) -> None:
    def test(_: Rendering) -> Steps:
        assert rendering.epochs() == 1
        rendering.publish(epochs=2)
        assert rendering.epochs(OPENMETRICS) == 2
        assert rendering.epochs() == 1
        yield

    rendering.run(test)


def test_a_publication_wakes_the_loop(rendering: Rendering) -> None:
    with running(rendering.store, rendering.exposition) as (renderer, waits):
        assert epochs(renderer) == 1
        waits.clear()
        rendering.publish(epochs=2)
        assert waits.wait(60)
        assert epochs(renderer) == 2


def test_answers_about_single_jobs_are_rendered_every_two_seconds_and_lists_at_once(rendering: Rendering) -> None:
    def detail(epochs: int) -> None:
        [changed] = list_answered(job(n_epochs=epochs)).content.jobs
        call = Call(rendering.clock.now, "retrieve", "200", 0.1, "ft-1")
        rendering.store.publisher("default").apply(DetailsAnswered(call, changed))

    def test(_: Rendering) -> Steps:
        assert rendering.epochs() == 1
        rendering.pass_(10)
        detail(2)
        yield
        assert rendering.epochs() == 2
        rendering.pass_(0.5)
        detail(3)
        yield
        assert rendering.epochs() == 2
        assert rendering.waits[-1] == 1.5
        rendering.pass_(1.5)
        yield
        assert rendering.epochs() == 3
        rendering.publish(epochs=4)
        yield
        assert rendering.epochs() == 4
        rendering.store.publisher("default").apply(ListFailed(Call(rendering.clock.now + 1, "list", "500", 0.1), 30.0))
        yield
        assert parse(rendering.renderer.page().body.decode()).get_one("up", account="default") == 0

    rendering.run(test)


def test_figures_that_expire_disappear_within_a_second(rendering: Rendering) -> None:
    def test(_: Rendering) -> Steps:
        assert rendering.epochs() == 1
        rendering.pass_(600)
        yield
        assert rendering.epochs() == 1
        assert rendering.waits[-1] <= 1
        rendering.pass_(1)
        yield
        assert rendering.epochs() is None

    rendering.run(test)


def test_a_page_that_nobody_fetched_for_ten_minutes_is_not_rendered_ahead(rendering: Rendering) -> None:
    def test(_: Rendering) -> Steps:
        assert rendering.epochs() == rendering.epochs(OPENMETRICS) == 1
        rendering.pass_(500)
        assert rendering.epochs() == 1
        rendering.pass_(101)
        rendering.publish(epochs=2)
        yield
        assert rendering.epochs() == 2
        rendering.publish(epochs=3)
        assert rendering.epochs() == 2
        assert rendering.epochs(OPENMETRICS) == 3

    rendering.run(test)


def test_a_rendering_that_fails_is_logged_once_and_scrapes_render_until_one_succeeds(
    rendering: Rendering, caplog: pytest.LogCaptureFixture
) -> None:
    def test(_: Rendering) -> Steps:
        assert rendering.epochs() == 1
        rendering.clock.error = ArithmeticError("for a reason")
        for _again in range(3):
            rendering.stopwatch.now += 10
            yield
        rendering.clock.error = None
        rendering.publish(epochs=2)
        assert rendering.epochs() == 2
        yield
        rendering.publish(epochs=3)
        assert rendering.epochs() == 2
        yield

    rendering.run(test)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in errors] == ["rendering failed"]


def test_a_loop_that_hangs_is_overdue_and_scrapes_render(rendering: Rendering) -> None:
    def test(_: Rendering) -> Steps:
        assert rendering.epochs() == 1
        assert not rendering.renderer.overdue
        rendering.pass_(61)
        rendering.publish(epochs=2)
        assert rendering.renderer.overdue
        assert rendering.epochs() == 2
        yield
        assert not rendering.renderer.overdue

    rendering.run(test)


def test_a_scrape_does_not_wait_while_the_loop_renders(rendering: Rendering) -> None:
    scraped, begun, over = threading.Event(), threading.Event(), threading.Event()

    def slow() -> float:
        if scraped.is_set() and threading.current_thread() is not threading.main_thread():
            begun.set()
            over.wait(60)
        return NOW

    with running(rendering.store, Exposition(rendering.store, clock=slow)) as (renderer, _):
        try:
            assert epochs(renderer) == 1
            scraped.set()
            rendering.publish(epochs=2)
            assert begun.wait(60)
            assert epochs(renderer) == 1
        finally:
            over.set()
