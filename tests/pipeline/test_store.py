"""Artifacts come to be whole or not at all."""

import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from pipeline.store import (
    DRAFTS,
    Input,
    Manifest,
    Store,
    canonical,
    commit,
    content_key,
    describe_files,
    draft,
    file_hash,
    lease,
    read_manifest,
    remove_abandoned,
    verify,
    write_atomically,
    write_json,
    write_table,
    write_text,
)

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
"""sha256 of `hello`, as `printf hello | sha256sum` gives it."""

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.store import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def manifest(**changes):
    return Manifest(
        **{"kind": "source", "version": 1, "product": "rows", "key": "k", "config": {}, "inputs": [], **changes}
    )


def artifact(folder):
    """A committed directory of two files."""
    write_text(folder / "data" / "a.txt", "hello")
    write_text(folder / "b.txt", "by")
    return commit(folder, manifest())


# Files


def test_a_writer_that_raises_leaves_nothing_behind(tmp_path):
    def half(path):
        path.write_text("half a fi")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(tmp_path / "deep" / "file.txt", half)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_writer_that_raises_leaves_the_old_file_as_it_was(tmp_path):
    def half(path):
        path.write_text("half")
        raise RuntimeError

    write_text(tmp_path / "file.txt", "whole")
    with pytest.raises(RuntimeError):
        write_atomically(tmp_path / "file.txt", half)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file.txt", "whole")]


def test_a_file_does_not_exist_under_its_name_until_it_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    seen = []

    def write(temporary):
        temporary.write_text("one")
        seen.append((path.exists(), temporary.parent == tmp_path))
        temporary.write_text("one, two")

    write_atomically(path, write)
    assert seen == [(False, True)], "the temporary file must be in the same directory, or the rename is no rename"
    assert path.read_text() == "one, two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_killed_half_way_leaves_no_file_that_readers_see(tmp_path):
    program = (
        "import os, sys, signal\nfrom pathlib import Path\nfrom pipeline.store import write_atomically\n"
        "def half(path):\n    path.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), half)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "file.txt")], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "file.txt").exists()
    assert len(list(tmp_path.iterdir())) == 1, "the kill came before anything was written"
    assert describe_files(tmp_path) == {}, "a temporary file is described"


def test_text_is_utf_8_and_json_is_sorted_with_a_final_line_end(tmp_path):
    write_json(tmp_path / "a.json", {"b": "é", "a": 1})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "a": 1,\n  "b": "é"\n}\n'.encode()


def test_the_hash_of_a_file(tmp_path):
    write_text(tmp_path / "a", "hello")
    assert file_hash(tmp_path / "a") == HELLO


def test_the_same_table_gives_the_same_bytes(tmp_path):
    def table():
        return pa.table({"id": ["a", "b"], "scores": [[1.0, None], []]})

    for name in ("one.parquet", "two.parquet"):
        write_table(tmp_path / name, table())
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


# Keys


def test_canonical_json_has_one_text_for_a_value():
    assert canonical({"b": [1, 2.5, None, True], "a": "é"}) == '{"a":"é","b":[1,2.5,null,true]}'


def test_a_content_key_is_pinned():
    """`printf '{"a":1,"b":[true,"é"]}' | sha256sum`: a change of this number makes every store stale."""
    assert content_key({"b": [True, "é"], "a": 1}) == "6926743e6611e69d70d0"


def test_a_content_key_depends_on_values_and_not_on_the_order_of_keys():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    different = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": [1]}, {"a": None}, {"b": 1}, {"a": [1, 2]}, {"a": [2, 1]}]
    assert len({content_key(value) for value in different}) == len(different)


# Manifests


def test_an_artifact_exists_once_its_manifest_does(tmp_path):
    store = Store(tmp_path)
    directory = store.directory("rows", "k")
    assert directory == tmp_path / "rows" / "k"
    write_text(directory / "data" / "a.txt", "hello")
    assert store.manifest("rows", "k") is None
    commit(directory, manifest(rows={"out": 1}))
    assert store.manifest("rows", "k").rows == {"out": 1}


def test_commit_describes_every_file_by_length_and_hash(tmp_path):
    found = artifact(tmp_path)
    assert sorted(found.files) == ["b.txt", "data/a.txt"]
    assert found.files["data/a.txt"] == {"bytes": 5, "sha256": HELLO}


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    inputs = [Input("data", "qa", "rows", "0123", "train"), Input("init", "reference", "models", "4567")]
    written = commit(tmp_path, manifest(inputs=inputs, config={"rows": 5}, facts={"loss": 0.5}, wall_seconds=1.5))
    assert read_manifest(tmp_path) == written
    assert written.inputs == inputs
    assert written.libraries["pyarrow"] == pa.__version__
    assert written.hardware["cores"] >= 1
    assert written.created.endswith("Z")


def test_commit_removes_scratch_and_temporary_files_and_describes_neither(tmp_path):
    write_text(tmp_path / ".work" / "checkpoints" / "big.bin", "scratch")
    write_text(tmp_path / "data" / ".part-0.parquet.123.456.tmp", "left by a kill")
    found = artifact(tmp_path)
    assert not (tmp_path / ".work").exists()
    assert not list(tmp_path.rglob("*.tmp"))
    assert sorted(found.files) == ["b.txt", "data/a.txt"]


def test_committing_again_does_not_describe_the_manifest(tmp_path):
    artifact(tmp_path)
    assert sorted(commit(tmp_path, manifest()).files) == ["b.txt", "data/a.txt"]


def test_a_directory_with_a_truncated_manifest_does_not_exist(tmp_path):
    artifact(tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    for length in (0, *range(1, len(whole) - 1, 17), len(whole) - 2):
        path.write_bytes(whole[:length])
        assert read_manifest(tmp_path) is None, f"with {length} of {len(whole)} bytes"
    path.write_bytes(whole)
    assert read_manifest(tmp_path) is not None


@pytest.mark.parametrize("text", ["[]", "{}", "null", '"text"', '{"inputs": null}', "\ud800"])
def test_a_manifest_that_is_none_does_not_count(tmp_path, text):
    artifact(tmp_path)
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogatepass"))
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    "change", [{"files": []}, {"files": None}, {"files": {"b.txt": {}}}, {"extra": 1}, {"inputs": [{}]}]
)
def test_a_manifest_of_another_shape_does_not_count(tmp_path, change):
    artifact(tmp_path)
    value = json.loads((tmp_path / "manifest.json").read_text())
    write_json(tmp_path / "manifest.json", {**value, **change})
    assert read_manifest(tmp_path) is None


def test_a_directory_with_a_missing_file_does_not_exist(tmp_path):
    artifact(tmp_path)
    (tmp_path / "data" / "a.txt").unlink()
    assert read_manifest(tmp_path) is None
    assert verify(tmp_path) == ["manifest.json"]


@pytest.mark.parametrize("text", ["hell", "hello!", ""])
def test_a_directory_with_a_file_of_another_length_does_not_exist(tmp_path, text):
    artifact(tmp_path)
    (tmp_path / "data" / "a.txt").write_text(text)
    assert read_manifest(tmp_path) is None


def test_verify_finds_a_flipped_byte(tmp_path):
    artifact(tmp_path)
    assert verify(tmp_path) == []
    (tmp_path / "data" / "a.txt").write_text("hellp")
    assert read_manifest(tmp_path) is not None, "the length is right, and hashes are not read every time"
    assert verify(tmp_path) == ["data/a.txt"]


def test_an_artifact_that_is_needed_and_missing_is_a_run_error(tmp_path):
    with pytest.raises(ValueError, match="rows/k is not in the store") as caught:
        Store(tmp_path).require("rows", "k")
    assert caught.value.exit_code == 5


# Leases


def holder(lock):
    """Another process that holds the lock until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lease_excludes_another_process_until_that_is_killed(tmp_path):
    lock = tmp_path / "leases" / "a.lock"
    other = holder(lock)
    waited = []

    def kill_the_holder():
        """Called because the lock is held: only the holder's death can let us go on."""
        waited.append(other.poll())
        other.kill()

    try:
        with lease(lock, kill_the_holder):
            assert other.wait(timeout=10) == -signal.SIGKILL
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert waited == [None], "the lock was taken from a process that held it"


def test_a_lease_that_is_free_is_taken_without_waiting(tmp_path):
    waited = []
    for _ in range(2):
        with lease(tmp_path / "a.lock", lambda: waited.append(True)):
            pass
    assert waited == []


def test_a_lease_is_given_back_when_the_work_fails(tmp_path):
    with pytest.raises(RuntimeError), lease(tmp_path / "a.lock"):
        raise RuntimeError
    other = holder(tmp_path / "a.lock")
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    other.stdout.close()


# Drafts

DRAWER = """
import sys
from pathlib import Path
from pipeline.store import draft
with draft(Path(sys.argv[1]), "notes") as directory:
    (directory / "half").write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_draft_stays_while_its_process_lives_and_goes_with_whoever_comes_after_it(tmp_path):
    command = [sys.executable, "-c", DRAWER, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    half = tmp_path / DRAFTS / "notes" / "half"
    try:
        assert other.stdout.readline() == "held\n"
        remove_abandoned(tmp_path)
        assert half.exists(), "it was taken from a living process"
    finally:
        other.kill()
        other.communicate()
    assert half.exists()
    remove_abandoned(tmp_path)
    assert not half.parent.exists()


def test_a_draft_begins_empty_and_leaves_nothing(tmp_path):
    left = tmp_path / DRAFTS / "notes" / "left"
    left.parent.mkdir(parents=True)
    left.touch()
    with draft(tmp_path, "notes") as directory:
        assert list(directory.iterdir()) == []
        (directory / "new").touch()
    assert list((tmp_path / DRAFTS).iterdir()) == []
