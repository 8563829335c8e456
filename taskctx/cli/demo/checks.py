"""Compares what was sent with what was seen; the first difference ends the demo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from .callers import Request
from .identity import digest
from .sighting import SERVER, Context, Sighting

NOT_CARRIED = frozenset({"authorization", "cookie", "connection", "content-length", "traceparent", "baggage"})
"""Sent headers that tasks must not see: credentials, and headers of the request's own connection."""


class ContextLost(Exception):
    """A task saw another context than was sent, or no context, or never ran.  The message holds no sent value."""


class Ledger:
    """The sent requests, and the reports of their tasks."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = {request.number: request for request in requests}
        self._expected = {request.number: request.expected for request in requests}
        self._missing = {request.number: set(request.runs) for request in requests}
        self.runs_expected: int = sum(len(request.runs) for request in requests)
        self.runs_by_worker: Counter[str] = Counter()

    @property
    def runs_seen(self) -> int:
        return self.runs_expected - sum(len(runs) for runs in self._missing.values())

    @property
    def intact(self) -> int:
        """The number of requests whose runs are all reported and saw the sent context."""
        return sum(not runs for runs in self._missing.values())

    @property
    def complete(self) -> bool:
        return self.intact == len(self._requests)

    def sent(self, number: int, headers: Mapping[str, str], **known: object) -> None:
        """Note the headers of a request, with the client's own, and other values that are ``known`` now."""
        lowered = {name.lower(): value for name, value in headers.items()}
        carried = {name: value for name, value in lowered.items() if name not in NOT_CARRIED}
        self._expected[number] = self._expected[number].model_copy(update={"headers": carried} | known)

    def seen(self, sighting: Sighting) -> None:
        """Compare the report of a run.  A run that Docket delivered twice is compared twice and counted once.

        Raises:
            ContextLost: the run saw another value than was sent; the message names the field and shows no value.
        """
        request = self._requests.get(sighting.number)
        if request is None:
            raise ContextLost(f"{sighting.worker} ran a task of request {sighting.number}, which was never sent")
        run = (sighting.run, sighting.attempt)
        attempt = f", attempt {sighting.attempt}" if sighting.attempt > 1 else ""
        which = f", run {sighting.run}" if sighting.run > 1 else attempt
        where = f"request {request.number} ({request.kind}{which}), run by {sighting.worker}"
        if run not in request.runs:
            raise ContextLost(f"{where}: such a run was not asked for")
        here, expected = sighting.worker == SERVER, self._expected[request.number]
        live = {"live_session": expected.session_id if here else None, "live_server": here}
        difference = compare(expected.model_copy(update=live), sighting.context)
        if difference is not None:
            raise ContextLost(f"{where}: {difference}")
        self._missing[request.number].discard(run)
        self.runs_by_worker[sighting.worker] += 1

    def lost(self) -> ContextLost:
        """The error for the reports that are still missing."""
        missing = {number: runs for number, runs in self._missing.items() if runs}
        first = self._requests[min(missing)]
        count = sum(len(runs) for runs in missing.values())
        return ContextLost(f"{count} task runs never reported, the first of request {first.number} ({first.kind})")


def compare(expected: Context, seen: Context) -> str | None:
    """The first difference in words, with fingerprints in place of values; None where there is no difference."""
    sent, saw = dict(_parts(expected)), dict(_parts(seen))
    for name in sent | saw:
        if sent.get(name) != saw.get(name):
            return f"{name} differs: sent {_fingerprint(sent.get(name))}, seen {_fingerprint(saw.get(name))}"
    return None


def _parts(context: Context) -> Iterator[tuple[str, object]]:
    """The parts to compare: each header, each entry of the baggage, each other field."""
    for name, value in context:
        if name in {"headers", "baggage"}:
            yield from ((f"{name}[{key}]", entry) for key, entry in cast("dict[str, str]", value).items())
        else:
            yield name, value


def _fingerprint(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "yes", False: "no"}[value]
    return f"#{digest(repr(value))[:8]}"
