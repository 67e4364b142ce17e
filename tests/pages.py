"""The pages of the docs, and the code blocks in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

NOT_RUN = (
    "needs Docker",
    "needs a cluster",
    "needs systemd",
    "needs packages from the internet",
    "needs an account",
    "changes the account",
    "takes minutes",
)
"""Why a test may leave out a block."""

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A block of code. `note` is the comment directly above it: `not run: REASON`; `keeps running`, for a program that
    has a terminal of its own; or `until: TEXT`, if it is run again until its output has this text."""

    page: Path
    line: int
    language: str
    text: str
    note: str

    @property
    def name(self) -> str:
        """Its place: page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether a test runs it."""
        return not self.note.startswith("not run: ")


def blocks(*languages: str, pages: list[Path] = PAGES) -> Iterator[Block]:
    """The blocks in these languages, in order."""
    for page in pages:
        text = page.read_text()
        for found in _BLOCK.finditer(text):
            if found["language"] in languages:
                line = text.count("\n", 0, found.start("language")) + 1
                yield Block(page, line, found["language"], found["text"], found["note"] or "")
