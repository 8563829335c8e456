"""HTTP requests to metrics endpoints and to Prometheus."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit, urlunsplit

from .._problem import Problem
from .._url import shown

PATIENCE = 5.0
"""Seconds for each answer."""


async def fetch(url: str) -> str:
    """The text at a URL; a user and a password in the URL are sent to its host as Basic authentication.

    Raises:
        Problem: the URL cannot be fetched.
    """
    return await asyncio.to_thread(_fetch, url)


async def ask_prometheus(base: str, path: str, **parameters: str) -> Any:
    """The ``data`` in an answer of Prometheus's HTTP API.

    Raises:
        Problem: there is no answer, or it is not Prometheus's.
    """
    parts = _split(base)
    address = urlunsplit((*parts[:2], f"{parts.path.rstrip('/')}/api/v1/{path}", urlencode(parameters), ""))
    hint = "Give --prometheus the address of its web interface, such as http://prometheus:9090."
    try:
        answer = json.loads(await fetch(address))
        return answer["data"]
    except (ValueError, KeyError, TypeError):
        raise Problem(f"what answers at {shown(base)} is not Prometheus", hint) from None
    except Problem as problem:
        raise Problem(str(problem), hint) from None


def metrics_url(given: str) -> str:
    """The full URL of an endpoint: ``worker-1:9100`` becomes ``http://worker-1:9100/metrics``.

    Raises:
        Problem: the text is not an address.
    """
    parts = _split(given)
    return urlunsplit((*parts[:2], parts.path if parts.path.strip("/") else "/metrics", parts.query, ""))


def _split(url: str) -> SplitResult:
    """The parts of an address; the default scheme is ``http``.

    Raises:
        Problem: the text is not an address.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise Problem(f"{shown(url)} is no address of a web server", "One looks like http://worker-1:9100/metrics.")


def _fetch(url: str) -> str:
    request = _request(url)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - the scheme is checked
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        why = f"HTTP {error.code}"
    except urllib.error.URLError as error:
        why = type(error.reason).__name__ if isinstance(error.reason, Exception) else "no such address"
    except (OSError, HTTPException, ValueError) as error:
        why = type(error).__name__
    raise Problem(f"nothing is served at {shown(url)} ({why})", "Check that it is up, and that its port is right.")


def _request(url: str) -> urllib.request.Request:
    parts = _split(url)
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(urlunsplit((parts.scheme, host, *parts[2:])))  # noqa: S310 - checked by _split
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        # not sent on to where a redirection leads, which may be another host
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return request
