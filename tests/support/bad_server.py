"""An OpenAI-compatible server on 127.0.0.1 that misbehaves as told: real sockets, real status lines, real cuts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Action = Callable[["Handler"], None]


def completion(
    text: str | None, finish_reason: str = "stop", tokens: tuple[int, int] = (10, 5), **message: Any
) -> dict[str, Any]:
    """A body as the API gives it, with its tokens of prompt and reply."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def says(text: str | None, finish_reason: str = "stop", **more: Any) -> Action:
    return status(200, completion(text, finish_reason, **more))


def status(code: int, body: Any, content_type: str = "application/json", **headers: str) -> Action:
    """A whole response. Underscores in names of headers become dashes."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()

    def act(handler: Handler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return act


def error(code: int, message: str, kind: str = "error", **headers: str) -> Action:
    """An error in JSON, as the API gives it."""
    return status(code, {"error": {"message": message, "type": kind, "code": kind}}, **headers)


def html(code: int = 200) -> Action:
    return status(code, "<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html")


def cut(handler: Handler) -> None:
    """Promises more bytes than come."""
    data = json.dumps(completion("{}")).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def cut_stream(handler: Handler) -> None:
    """A chunked body whose last chunks never come."""
    data = json.dumps(completion("{}")).encode()[:40]
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    handler.close_connection = True


def no_answer(handler: Handler) -> None:
    """Hangs up without a word."""
    handler.close_connection = True


def hang(handler: Handler) -> None:
    """Says nothing until the server stops."""
    handler.server.stopping.wait(30)  # type: ignore[attr-defined]
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """A byte now and then: no pause is long, and there is no end."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.stopping.wait(0.05):  # type: ignore[attr-defined]
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return


@dataclass
class Seen:
    """One request as it came in."""

    at: float
    path: str
    key: str
    payload: dict[str, Any]

    @property
    def question(self) -> str:
        """The first user message."""
        return next(message["content"] for message in self.payload["messages"] if message["role"] == "user")

    @property
    def text(self) -> str:
        return json.dumps(self.payload["messages"])


@dataclass
class BadServer:
    """What was asked, and what to do with the next request. `act` gets a request and its number, from 0."""

    act: Callable[[Seen, int], Action]
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def take(self, seen: Seen) -> Action:
        with self.lock:
            self.seen.append(seen)
            number = len(self.seen) - 1
        return self.act(seen, number)


class Server(ThreadingHTTPServer):
    """Takes whoever comes at once: connections are refused only where a test says so."""

    daemon_threads = True
    request_queue_size = 256


class Handler(BaseHTTPRequestHandler):
    """Reads the whole request, then acts."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        state: BadServer = self.server.state  # type: ignore[attr-defined]
        try:
            state.take(Seen(time.monotonic(), self.path, key, json.loads(body)))(self)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Silence."""


@contextmanager
def serving(act: Callable[[Seen, int], Action]) -> Iterator[BadServer]:
    """A server in a thread, stopped in the end with whoever still hangs in it."""
    state = BadServer(act)
    server = Server(("127.0.0.1", 0), Handler)
    server.state, server.stopping = state, threading.Event()  # type: ignore[attr-defined]
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.stopping.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()


def in_turn(*actions: Action) -> Callable[[Seen, int], Action]:
    """The actions in their order, the last of them for ever."""
    return lambda _, number: actions[min(number, len(actions) - 1)]
