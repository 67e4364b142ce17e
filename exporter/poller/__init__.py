"""When to ask the API for what: the polls of one account."""

from exporter.poller.plan import Schedule, Task, plan
from exporter.poller.poller import Poller

__all__ = ["Poller", "Schedule", "Task", "plan"]
