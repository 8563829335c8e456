"""Which caller submits which task, and which caller's context a task sees: one rule for both sides."""

from __future__ import annotations

from tests.faults.ledger import Whose
from tests.helpers import NOBODY, Caller, look


def caller_of(number: int, callers: int, expires_at: int | None = None) -> Caller:
    """Submissions go round the callers; each is a request of its own."""
    return Caller(f"caller-{number % callers}", request=str(number), expires_at=expires_at)


def whose(submission: int, callers: int, expires_at: int | None = None) -> Whose:
    """Whose context the code that runs here sees.  A context that is neither its own nor empty counts as another's."""
    match look():
        case seen if seen == caller_of(submission, callers, expires_at).sight:
            return Whose.OWN
        case seen if seen == NOBODY:
            return Whose.NOBODYS
        case _:
            return Whose.ANOTHERS
