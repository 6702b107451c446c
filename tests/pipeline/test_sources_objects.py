"""Sources in an object store: a real S3 server on this machine, reached through the usual environment variables."""

import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from source_node import make_source

from pipeline.failures import UserError
from pipeline.sources.files import fingerprint, read
from pipeline.store import MANIFEST

pytestmark = pytest.mark.slow

SECRET = "a-very-secret-key"
ROWS = [{"id": f"r{i}", "prompt": f"{i}?", "response": str(i)} for i in range(9)]
SERVER = """
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


def start(**environment):
    """A server in a process of its own, which ends with its input; the address."""
    pipe, known = subprocess.PIPE, {**os.environ, **environment}
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, text=True, env=known)
    return process, f"http://127.0.0.1:{process.stdout.readline().strip()}"


@pytest.fixture(scope="module")
def endpoint():
    process, address = start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "the-key-id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield address
    process.stdin.close()
    process.wait(timeout=20)


@pytest.fixture(scope="module")
def bucket(endpoint):
    """A bucket with the rows in three kinds of files; the store to write more."""
    store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
    store.create_dir("data")
    lines = [json.dumps(row).encode() + b"\n" for row in ROWS]
    write(store, "data/glaive/a.jsonl", b"".join(lines[:3]))
    write(store, "data/glaive/b/x.jsonl.gz", gzip.compress(b"".join(lines[3:6])))
    with store.open_output_stream("data/glaive/c.parquet") as out:
        pq.write_table(pa.Table.from_pylist(ROWS[6:]), out)
    write(store, "data/glaive/_SUCCESS", b"")
    return store


def write(store, path, content):
    with store.open_output_stream(path, compression=None) as out:
        out.write(content)


def ids(origin):
    return [row.id for row in read(origin)]


def refusal(origin):
    with pytest.raises(UserError) as caught:
        list(read(origin))
    return caught.value


def test_an_object_a_prefix_and_a_pattern(bucket):
    everything = [row["id"] for row in ROWS]
    assert ids("s3://data/glaive/a.jsonl") == everything[:3]
    assert ids("s3://data/glaive") == ids("s3://data/glaive/") == ids("s3://data") == everything
    assert ids("s3://data/glaive/*.jsonl") == everything[:3]
    assert ids("s3://data/*/**/*.jsonl*") == everything[:6]
    assert ids("s3://data/glaive/[bc]*") == everything[6:]


def test_rows_from_a_store_and_from_a_folder_are_the_same(bucket, tmp_path):
    folder = tmp_path / "glaive"
    for info in bucket.get_file_info(fs.FileSelector("data/glaive", recursive=True)):
        if info.type == fs.FileType.File:
            target = folder / info.path.removeprefix("data/glaive/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(bucket.open_input_file(info.path).read())
    remote, local = (make_source(tmp_path, origin, rows=7) for origin in ("s3://data/glaive", folder))
    assert remote.files() == local.files()
    assert remote.manifest.facts["passed_over"] == ["_SUCCESS"]


def test_no_credential_is_written_down(bucket, tmp_path):
    made = make_source(tmp_path, "s3://data/glaive")
    text = (made.directory / MANIFEST).read_text()
    assert "s3://data/glaive" in text
    for secret in (SECRET, "the-key-id", os.environ["AWS_ENDPOINT_URL"]):
        assert not any(secret.encode() in path.read_bytes() for path in made.directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("address", ["s3://KEY:SECRETKEY@data/x.jsonl", "s3://data/x.jsonl?access_key=SECRETKEY"])
def test_credentials_in_an_address_are_refused_and_not_repeated(address):
    error = refusal(address)
    assert error.kind == "config"
    assert "SECRETKEY" not in str(error)
    assert "AWS_ACCESS_KEY_ID" in error.hint


def test_the_fingerprint_changes_with_an_object_and_with_nothing_else(bucket):
    write(bucket, "data/other/a.jsonl", b'{"prompt": "a", "response": "b"}\n')
    first = fingerprint("s3://data/other")
    assert fingerprint("s3://data/other") == first
    write(bucket, "data/other/a.jsonl", b'{"prompt": "a", "response": "c"}\n')
    second = fingerprint("s3://data/other")
    write(bucket, "data/other/b.jsonl", b'{"prompt": "a", "response": "d"}\n')
    assert len({first, second, fingerprint("s3://data/other")}) == 3


def test_what_is_not_there_is_told(bucket):
    no_bucket = refusal("s3://dat/glaive")
    assert (no_bucket.kind, no_bucket.what) == ("data", "there is no bucket 'dat'.")
    assert refusal("s3://nowhere").what == "there is no bucket 'nowhere'."
    assert refusal("s3://nowhere/*.json").what == "there is no bucket 'nowhere'."
    misspelt = refusal("s3://data/glaive/a.json")
    assert (misspelt.what, misspelt.hint) == ("there is no such object.", "Did you mean 'a.jsonl'?")
    assert refusal("s3://data/glaive/*.csv").what == "no file matches the pattern."
    assert refusal("s3://data/glaive/_SUCCESS").what.startswith("the folder has no data file")
    assert refusal("s4://data/x.json").what == "addresses of kind s4:// cannot be read."


def test_a_store_that_does_not_answer_is_told(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    error = refusal("s3://data/glaive/a.jsonl")
    assert (error.kind, error.what) == ("environment", "the store cannot be read (NETWORK_CONNECTION).")
    assert "AWS_ENDPOINT_URL" in error.hint


def denied(error):
    assert error.kind == "environment"
    assert error.what == "the store does not let us read 'data': credentials are missing or lack the right."
    assert "AWS_ACCESS_KEY_ID" in error.hint
    assert SECRET not in str(error)
    assert "the-key-id" not in str(error)
    return True


def test_wrong_credentials_are_told(monkeypatch, endpoint):
    """A server that asks who is there."""
    process, address = start(INITIAL_NO_AUTH_ACTION_COUNT="0")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    try:
        assert denied(refusal("s3://data/glaive/a.jsonl"))
        assert denied(refusal("s3://data/glaive/"))
    finally:
        process.stdin.close()
        process.wait(timeout=20)


class Forbidding(BaseHTTPRequestHandler):
    """What S3 says to those who do not say who they are; the server above falls over them."""

    def do_GET(self):
        text = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403 if "Authorization" not in self.headers else 500)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_missing_credentials_are_told(monkeypatch, endpoint, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), Forbidding) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        assert denied(refusal("s3://data/glaive/a.jsonl"))
        server.shutdown()
