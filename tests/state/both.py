"""An account in two ways: with what is kept from one event to the next, and with everything computed anew."""

from collections.abc import Callable
from dataclasses import replace

from exporter.metrics import ROWS, Scope
from exporter.models import JobList, parse_jobs
from exporter.state import AccountSettings, AccountState, AccountView, Call, Event, ListAnswered
from tests.state.history import History, seconds
from tests.support import jobs_json

SETTINGS = replace(
    AccountSettings(details=False, failure_window=2400.0, retention=1200.0),
    stuck_after=dict.fromkeys(AccountSettings().stuck_after, 600.0),
)
"""With thresholds short enough to be passed while lists keep arriving."""


class Both:
    """An account whose list is parsed after the one before, and whose view follows from the one before; and the same
    account with everything computed anew. Times are minutes, as in `History`."""

    def __init__(self, settings: AccountSettings = SETTINGS) -> None:
        self.now = 0.0
        self.bodies: list[bytes] = [jobs_json()]
        self.content: JobList | None = None
        self.view = AccountView(settings)
        self.state = AccountState()

    @property
    def anew(self) -> AccountView:
        """The view computed anew."""
        return AccountView(self.view.settings, self.state)

    def list(self, body: bytes) -> None:
        """The list arrives."""
        self.bodies.append(body)
        call = Call(seconds(self.now), "list", "200", 0.1)
        self.content = parse_jobs(body, self.content)
        self.happens(ListAnswered(call, self.content, 30.0), ListAnswered(call, parse_jobs(body), 30.0))

    def happens(self, event: Event, anew: Event | None = None) -> None:
        """Any event, to both."""
        self.view = self.view.after(event)
        self.state = self.state.after(anew or event, self.view.settings)

    def about(self, tell: Callable[[History], History]) -> None:
        """An event as the history of an account has it."""
        told: list[Event] = []
        history = History()
        history.happens = lambda event: (told.append(event), history)[1]  # type: ignore[method-assign, func-returns-value]
        tell(history)
        self.happens(told[0])

    def configure(self, changed: AccountSettings) -> None:
        """A reload."""
        self.view = AccountView(changed, self.view.state)

    def assert_same(self) -> None:
        """What is kept makes no difference."""
        view, anew = self.view, self.anew
        assert view.state == self.state
        assert view.state.content == self.state.content
        assert view.verdicts == anew.verdicts
        assert view.shown == anew.shown
        assert view.entries == anew.entries
        assert view.totals == anew.totals
        for row in ROWS:
            if row.scope is Scope.ACCOUNT:
                assert row.read(view) == row.read(anew), row.name
