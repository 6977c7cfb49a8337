"""Any error as the problem document that a caller may see, with a log line where the fault is ours."""

from __future__ import annotations

import logging
from traceback import extract_tb

import apsw
from litestar.exceptions import HTTPException

from serving.ledger import LedgerError
from serving.ledger.store import Unstorable
from serving.problems import Rejected, invalid, problem
from serving.wire import Problem

log = logging.getLogger("serving.app")


def explained(error: Exception, what: str) -> Problem:
    """The problem document; what is not the caller's fault is logged as that of `what`, without its text."""
    document = _document(error)
    if document.status >= 500:
        # The text of an error may quote a request, so only its kind and place are told.
        place = extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
        where = f"{place.name}:{place.lineno}" if place else "?"
        log.error("%s %s: %s in %s", what, document.status, type(error).__name__, where)
    return document


def _document(error: Exception) -> Problem:
    if isinstance(error, Rejected):
        return error.document()
    if isinstance(error, Unstorable):
        return invalid("", "a text holds a character that the store cannot keep: NUL").document()
    if isinstance(error, LedgerError | apsw.Error):
        return problem(503, "The store cannot be used; nothing was stored. Try again later.")
    if isinstance(error, HTTPException):
        for one in error.extra if isinstance(error.extra, list) else ():
            if isinstance(one, dict) and one.get("source") == "query":
                return problem(error.status_code, f"?{one.get('key')}=: {one.get('message')}")
        if error.status_code == 400:  # an empty body is the one error that never reaches the decoder
            return invalid("", "the body is empty; it must be a JSON object", status=400).document()
        return problem(error.status_code, error.detail)
    return problem(500, "The service failed; the request may be tried again.")
