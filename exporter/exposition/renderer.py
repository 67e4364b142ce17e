"""The pages rendered ahead of the scrapes, by one loop."""

import logging
import threading
import time
from collections.abc import Callable, Collection

from exporter.exposition.exposition import Exposition, Page
from exporter.state import State, Store

log = logging.getLogger(__name__)

_LOOK = 1.0  # seconds from one look at the clock to the next, for what expires
_PAUSE = 2.0  # seconds between two renderings, unless a list was published
_SHARE = 0.05  # of the time is spent on rendering lists at most, as far as `_PAUSE` allows
_LATE = 60.0  # seconds without a look after which the loop is overdue


class Renderer:
    """Renders the pages of `exposition` while `run` runs: after a list was published at once, after other changes
    within seconds. A scrape then takes what is there.

    `stopwatch` returns seconds that only go forward. `wait` waits until the flag is set, for so many seconds at most.
    """

    def __init__(
        self,
        exposition: Exposition,
        store: Store,
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._exposition = exposition
        self._store = store
        self._stopwatch = stopwatch
        self._wait = wait
        self._changed = threading.Event()
        self._running = self._stopped = self._failed = False
        self._looked = self._ended = stopwatch()
        self._took = 0.0
        self._lists: object = None
        store.subscribe(self._changed.set)

    def page(
        self, accept: str = "", *, gzip: bool = False, account: str | None = None, names: Collection[str] = ()
    ) -> Page:
        """The page as last rendered, see `Exposition.page`; rendered now if it is new, or if the loop does not work."""
        works = self._running and not self._failed and not self.overdue
        return self._exposition.page(accept, gzip=gzip, account=account, names=names, newest=not works)

    @property
    def overdue(self) -> bool:
        """Whether the loop should have rendered long ago."""
        return self._stopwatch() > self._looked + _LATE

    def run(self) -> None:
        """Renders until it is stopped."""
        self._running = True
        try:
            while not self._stopped:
                self._wait(self._changed, self.step())
        finally:
            self._running = False

    def stop(self) -> None:
        """Ends `run`."""
        self._stopped = True
        self._changed.set()

    def step(self) -> float:
        """Renders what changed, if it is time. Returns the seconds after which to look again if nothing changes."""
        self._changed.clear()
        began = self._looked = self._stopwatch()
        lists = _lists(self._store.read())
        pause = _PAUSE if lists == self._lists else min(_PAUSE, self._took / _SHARE)
        if began < self._ended + pause:
            return self._ended + pause - began
        try:
            changed = self._exposition.renew()
            self._failed = False
        except Exception as error:
            if not self._failed:
                log.error("rendering failed", extra={"error": repr(error)})  # noqa: TRY400 - the traceback is for debug
                log.debug("traceback of the failed rendering", exc_info=error)
            changed = self._failed = True
        self._lists = lists
        if changed:
            self._ended = self._stopwatch()
            self._took = self._ended - began
        return _LOOK


def _lists(state: State) -> object:
    """What changes when a list arrived or its poll failed, and with the configuration."""
    polls = [(name, view.settings, view.state.polls.last, view.state.polls.up) for name, view in state.accounts.items()]
    return state.exporter, polls
