"""What a client says to the service and makes of its answers, whoever sends it: requests, retries, refusals.

What may be tried again is: a connection that broke, an answer that did not come, and the statuses 409 (in
flight), 429, 502, 503 and 504, after as long as `Retry-After` says, or twice as long each time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeAlias

import httpx
import msgspec
from msgspec import Struct, structs

from nba.errors import NBAError
from serving.wire import DecisionRequest, Feedback, LineAnswer, Problem

_PASSING = (429, 502, 503, 504)
_IN_FLIGHT = "urn:nba:error:request-in-flight"
_JSON, _LINES = "application/json", "application/x-ndjson"


class Refused(NBAError):
    """The service's refusal, with its problem document."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")


class Unreachable(NBAError):
    """No answer came, however often it was tried; whether the service has acted is not known."""


class Retries(Struct, frozen=True, kw_only=True):
    """How often to try again, and how long to wait between: `first_seconds`, then twice as long each time.

    Waits are shortened by chance to between half and all, so that callers do not come back together;
    what the service asks for is waited in full, but never longer than `most_seconds`.
    """

    most: int = 4
    first_seconds: float = 0.1
    most_seconds: float = 5.0

    def wait(self, attempt: int, told: str | None, chance: float) -> float:
        """Seconds after the attempt of a number (from 0), for a Retry-After and a uniform in [0, 1)."""
        if told is not None and told.strip().isdigit():
            return min(float(told), self.most_seconds)
        wait = min(self.first_seconds * float(2**attempt), self.most_seconds)
        return wait * (0.5 + 0.5 * chance)


class Call(NamedTuple):
    """One request as it is sent, and sent again."""

    method: str
    path: str
    content: bytes = b""
    media_type: str = _JSON


Answer: TypeAlias = "httpx.Response | httpx.TransportError"
Talk: TypeAlias = "Generator[Call | float, Answer | None, httpx.Response]"


class Caller:
    """What both clients say, and what they make of the answers; who speaks is theirs."""

    def __init__(self, retries: Retries, chance: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._retries, self._chance, self._new_id = retries, chance, new_id

    def named(self, request: DecisionRequest) -> DecisionRequest:
        """A request that can be sent again: a dry run changes nothing, and can have no id."""
        if request.request_id is not None or request.mode == "dry_run":
            return request
        return structs.replace(request, request_id=self._new_id())

    def talk(self, call: Call) -> Talk:
        """Yields what to send and seconds to wait, takes the answers; ends with a good one or raises."""
        for attempt in range(self._retries.most + 1):
            answer = yield call
            is_last = attempt == self._retries.most
            if isinstance(answer, httpx.Response):
                if answer.is_success:
                    return answer
                problem = problem_of(answer)
                if is_last or not (problem.status in _PASSING or problem.type == _IN_FLIGHT):
                    raise Refused(problem)
                yield self._retries.wait(attempt, answer.headers.get("retry-after"), self._chance())
            elif is_last:
                rule = f"{call.method} {call.path}: no answer after {attempt + 1} attempts"
                raise Unreachable(f"{rule} ({type(answer).__name__}: {answer}).")
            else:
                yield self._retries.wait(attempt, None, self._chance())
        raise AssertionError("the last attempt ends the loop")


def problem_of(answer: httpx.Response) -> Problem:
    """The problem document of an answer; one of our own making where something in between answered."""
    try:
        return msgspec.json.decode(answer.content, type=Problem)
    except msgspec.MsgspecError:
        detail = f"Something between here and the service answered {answer.status_code}."
        return Problem(type="about:blank", title="No answer", status=answer.status_code, detail=detail)


def decide(request: DecisionRequest) -> Call:
    """Ask for a decision."""
    return Call("POST", "/v1/decisions", msgspec.json.encode(request))


def report(feedback: Feedback) -> Call:
    """Tell what came of one."""
    return Call("POST", "/v1/feedback", msgspec.json.encode(feedback))


def batch(what: str, records: list[Any]) -> Call:
    """Many at once, a line of JSON each; `what` is decisions or feedback."""
    return Call("POST", f"/v1/{what}/batch", msgspec.json.Encoder().encode_lines(records), _LINES)


def lines(answer: httpx.Response) -> list[LineAnswer]:
    """The answers of a batch."""
    return msgspec.json.Decoder(LineAnswer).decode_lines(answer.content)


def headers(key: str | None) -> dict[str, str]:
    """What every request says of who asks."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


def content(call: Call) -> dict[str, str]:
    """What a request says of its body."""
    return {"content-type": call.media_type} if call.content else {}
