"""A server that speaks as much of the Hugging Face Hub's protocol as an upload needs, and keeps what it was sent."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What was asked for (method and path), the repositories that were made, the files of each, and tokens."""

    url: str = ""
    refuses: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    repositories: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)


@contextmanager
def stand_in() -> Iterator[Hub]:
    """The server, as long as the context lasts."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append(("POST", self.path))
            hub.tokens.add(self.headers.get("Authorization"))
            if hub.refuses:
                self._say({"error": "refused"}, hub.refuses)
            elif self.path == "/api/repos/create":
                hub.repositories.append(json.loads(body))
                asked = hub.repositories[-1]
                kind = "datasets/" if asked.get("type") == "dataset" else ""
                self._say({"url": f"{hub.url}/{kind}{asked.get('organization')}/{asked['name']}"})
            elif "/preupload/" in self.path:
                names = [item["path"] for item in json.loads(body)["files"]]
                files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
                self._say({"files": files})
            elif "/commit/" in self.path:
                self._keep(body)
                name = self.path.partition("/api/")[2].partition("/commit/")[0].removeprefix("models/")
                address = f"{hub.url}/{name}/commit/{'1' * 40}"
                self._say({"commitUrl": address, "commitOid": "1" * 40, "pullRequestUrl": None})
            else:
                self._say({})

        def do_GET(self) -> None:
            hub.asked.append(("GET", self.path))
            self._say({"error": "not found"}, 404)

        def _keep(self, body: bytes) -> None:
            name = self.path.partition("/api/")[2].partition("/commit/")[0]
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    value = item["value"]
                    hub.files.setdefault(name, {})[value["path"]] = base64.b64decode(value["content"])

        def _say(self, value: Any, status: int = 200) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
