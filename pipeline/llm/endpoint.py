"""An OpenAI-compatible endpoint: paced, repeated where that may help, and stopped where it cannot.

The `openai` client sends; it repeats nothing itself, for it gives up on a long Retry-After and knows neither pace nor
patience. The key is read from the environment, held by this object alone, and cut out of whatever a server says.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay

from pipeline.failures import UserError
from pipeline.llm.base import Failure, Reply, Request, Tally
from pipeline.llm.config import OPENAI, Writer, secret
from pipeline.llm.limits import Pace, Typical

NO_KEY = "none"
"""What servers of one's own are sent; the client wants something."""

BACK_OFF = (0.5, 60.0)
"""Seconds before the first repetition, doubled each time, and the most."""

UNREACHABLE_SECONDS = 20
"""How long an endpoint that never said anything is knocked at."""

IN_A_ROW = 20
"""Questions without a reply, one after the other, after which something is wrong with the endpoint, not with them."""

SECRET_LENGTH = 8
"""Shorter keys are words such as EMPTY, which servers of one's own are given, and may stand in any reply."""

QUOTA = {"insufficient_quota", "billing_hard_limit_reached"}
"""Codes of a 429 that no waiting mends."""


class Passing(Exception):
    """What may be gone when asked again: a reason, what was seen, and how long the server wants to be left alone."""

    def __init__(self, reason: str, detail: str, wait: float | None = None) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.wait = wait


class Endpoint:
    """Asks one model at one address."""

    def __init__(self, writer: Writer, tally: Tally) -> None:
        self.writer = writer
        self.tally = tally
        self.secret = secret(writer)
        self.identity: Mapping[str, Any] = {
            **{name: getattr(writer, name) for name in ("backend", "model", "base_url", "structured", "options")},
            **{name: getattr(writer, name) for name in ("temperature", "max_tokens")},
        }
        self.client = openai.AsyncOpenAI(
            api_key=self.secret or NO_KEY, base_url=writer.base_url, timeout=writer.timeout, max_retries=0
        )
        self.requests = Pace(writer.requests_per_minute)
        self.tokens = Pace(writer.tokens_per_minute)
        self.typical = Typical()
        self.quiet_until = 0.0
        self.began: float | None = None
        self.reached = False
        self.unanswered = 0

    async def generate(self, request: Request) -> Reply | Failure:
        """The reply, after as many repetitions as patience allows. Raises UserError where no request can succeed."""
        try:
            said = await self._patiently(request)
        except Passing as error:
            self.unanswered += 1
            if self.unanswered >= IN_A_ROW:
                raise self._unwell(error) from None
            return Failure(error.reason, error.detail)
        self.unanswered = 0
        return said

    async def close(self) -> None:
        await self.client.close()

    async def _patiently(self, request: Request) -> Reply | Failure:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_before_delay(self.writer.patience),
            wait=_seconds,
            before_sleep=self._count_repetition,
            reraise=True,
        ):
            with attempt:
                return await self._in_pace(request)
        raise AssertionError("tenacity ends with a result or an exception")

    def _count_repetition(self, _: RetryCallState) -> None:
        self.tally.repeated += 1

    async def _in_pace(self, request: Request) -> Reply | Failure:
        """Send when the limits allow it. Tokens are guessed beforehand and set right afterwards."""
        guess = self.typical.of(request, self.writer.max_tokens)
        await self.requests.take()
        await self.tokens.take(guess)
        await self._quiet()
        used, outcome = guess, "cancelled"
        try:
            said = await self._send(request)
            if isinstance(said, Reply):
                used = said.prompt_tokens + said.completion_tokens
                self.typical.learn(used)
            outcome = said.reason if isinstance(said, Failure) else ""
            return said
        except Passing as error:
            outcome = error.reason
            raise
        except UserError:
            outcome = "stopped"
            raise
        finally:
            self.tokens.give_back(guess - used)
            self.tally.sent(outcome or Reply(""))

    async def _quiet(self) -> None:
        """Wait as long as the server asked for: what it told one request holds for all."""
        loop = asyncio.get_running_loop()
        self.began = loop.time() if self.began is None else self.began
        while (left := self.quiet_until - loop.time()) > 0:
            await asyncio.sleep(left)

    async def _send(self, request: Request) -> Reply | Failure:
        """One request. `timeout` of the client holds between two bytes; a server that drips is cut off here."""
        try:
            async with asyncio.timeout(self.writer.timeout):
                raw = await self.client.chat.completions.with_raw_response.create(**self.payload(request))
        except (TimeoutError, openai.APITimeoutError):
            raise Passing("timeout", f"no reply within {self.writer.timeout:g} seconds") from None
        except openai.APIStatusError as error:
            return self._refusal(error)
        except openai.APIConnectionError as error:
            detail = self.hide(str(error.__cause__ or error))
            raise self._lost(detail) from None
        self.reached = True
        return self._reply(raw.http_response.text)

    def payload(self, request: Request) -> dict[str, Any]:
        """The request as the API takes it. OpenAI's own has a new name for the longest reply that others lack."""
        longest = "max_completion_tokens" if self.writer.base_url == OPENAI else "max_tokens"
        payload: dict[str, Any] = {
            "model": self.writer.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            longest: self.writer.max_tokens,
        }
        if self.writer.temperature is not None:
            payload["temperature"] = self.writer.temperature
        if request.schema and self.writer.structured == "schema":
            schema = {"name": "reply", "strict": True, "schema": json.loads(request.schema)}
            payload["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.schema and self.writer.structured == "json":
            payload["response_format"] = {"type": "json_object"}
        return {**payload, "extra_body": self.writer.options} if self.writer.options else payload

    def _reply(self, body: str) -> Reply | Failure:
        """What stands in a body that came with status 200, whatever it is."""
        try:
            value = json.loads(body)
            choice = value["choices"][0]
            text, reason = choice["message"].get("content"), str(choice.get("finish_reason") or "stop")
            used = value.get("usage") or {}
            counts = [int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise Passing("no-completion", f"status 200, but no completion: {self.hide(body)[:200]!r}") from None
        if reason == "content_filter" or choice["message"].get("refusal"):
            return Failure("refused", self.hide(str(choice["message"].get("refusal") or reason))[:500])
        if not isinstance(text, str):
            raise Passing("no-completion", f"status 200, but no text: {self.hide(body)[:200]!r}")
        return Reply(self.hide(text.encode("utf-8", "replace").decode()), reason, *counts)

    def _refusal(self, error: openai.APIStatusError) -> Failure:
        """Sort what a server says with a status of its own: gone soon, this row's fault, or everybody's."""
        self.reached = True
        status, detail = error.status_code, self.hide(_said(error))[:300]
        wait = retry_after(error.response.headers)
        if status in (401, 402, 403) or (status == 429 and str(error.code) in QUOTA):
            raise self._stopped(status, detail)
        if status == 404:
            what = f"there is no model '{self.writer.model}' there: 404 {detail}"
            raise UserError(
                "config", what, self.writer.base_url, "Look at `model` and `base_url` (does it end in /v1?)."
            )
        if status in (408, 409, 425, 429) or status >= 500:
            if wait:
                loop = asyncio.get_running_loop()
                self.quiet_until = max(self.quiet_until, loop.time() + wait)
            raise Passing(str(status), f"{status} {detail}", wait)
        return Failure(str(status), f"{status} {detail}")

    def _stopped(self, status: int, detail: str) -> UserError:
        name = self.writer.key_name
        if not name:
            hint = "This endpoint wants a key: name the environment variable that holds it as api_key_env."
        elif not self.secret:
            hint = f"Set the environment variable {name}; it is empty."
        elif status in (401, 403):
            hint = f"The key in {name} is refused there: look whether it is the right one, and may use this model."
        else:
            hint = f"The account behind the key in {name} has nothing left to spend."
        what = f"the endpoint refuses: {status} {detail}"
        return UserError("environment", what, self.writer.base_url, f"{hint} What was answered so far is kept.")

    def _lost(self, detail: str) -> Exception:
        """A connection that failed or broke; a reason to stop where nobody was ever there."""
        waited = asyncio.get_running_loop().time() - (self.began or 0.0)
        if not self.reached and waited > min(UNREACHABLE_SECONDS, self.writer.patience):
            what = f"the endpoint cannot be reached: {detail}"
            return UserError("environment", what, self.writer.base_url, "Is the server running, and the address right?")
        return Passing("connection", detail)

    def _unwell(self, error: Passing) -> UserError:
        what = f"the last {IN_A_ROW} questions got no reply, this one: {error.detail}"
        hint = "What was answered is kept: the same command goes on from here when the endpoint is well again."
        return UserError("environment", what, self.writer.base_url, hint)

    def hide(self, text: str) -> str:
        """The text without the key, should a server repeat it."""
        return text.replace(self.secret, "[key]") if len(self.secret) >= SECRET_LENGTH else text


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server wants to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) * unit
            return wait if 0 <= wait < float("inf") else None
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _seconds(state: RetryCallState) -> float:
    """How long to wait before the next attempt: as told, else longer each time."""
    error = state.outcome.exception() if state.outcome else None
    told = error.wait if isinstance(error, Passing) else None
    first, most = BACK_OFF
    grown = min(first * 2 ** min(state.attempt_number - 1, 20), most)
    return grown if told is None else told


def _said(error: openai.APIStatusError) -> str:
    """The server's message in one short line, from JSON in the usual form or from whatever came."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error.response.text).split())
