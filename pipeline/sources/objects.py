"""Files of object stores, through Arrow's file systems: `s3://bucket/...`, `gs://`, `abfs://`, `hdfs://`.

Credentials come from where each store's own tools look for them (environment, profile, role of the machine), never from
the address, which goes into manifests and logs. `AWS_ENDPOINT_URL` names an S3-compatible store that is not Amazon's.
"""

from __future__ import annotations

import io
import re
from difflib import get_close_matches
from fnmatch import translate
from functools import partial
from typing import Any, BinaryIO, cast

from pipeline.failures import UserError
from pipeline.sources.places import Part
from pipeline.store import content_key

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")
READ_AHEAD = 8 * 2**20
"""Bytes of one request; Parquet asks for what it needs."""
KEYS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL where it is not Amazon's.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS to the path of a key file.",
    "abfs": "Set AZURE_STORAGE_ACCOUNT_NAME and log in with the Azure tools.",
}
DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|UNRECOGNIZED_CLIENT|credential|403|401", re.I
)
NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|bucket does not exist|bucket .* not found", re.I)


def object_parts(scheme: str, url: str) -> list[Part]:
    """The files at an address: one object, all below a prefix, or those that fit a pattern. Raises user errors."""
    if scheme not in SCHEMES:
        raise UserError(
            "config", f"addresses of kind {scheme}:// cannot be read.", "from", f"Known: {', '.join(SCHEMES)}."
        )
    rest = url.partition("://")[2]
    if "@" in rest.partition("/")[0] or re.search(r"\?\w+=", rest):
        what = "the address holds more than a bucket and a path."
        raise UserError("config", what, "from", f"Keys and settings come from the environment. {_keys(scheme)}")
    try:
        return _listed(scheme, url, rest)
    except OSError as error:
        raise refused(scheme, url, error) from None


def _listed(scheme: str, url: str, rest: str) -> list[Part]:
    from pyarrow import fs

    bucket = rest.partition("/")[0]
    system, _ = fs.FileSystem.from_uri(f"{scheme}://{bucket}")
    prefix, pattern = rest.rstrip("/"), None
    if re.search(r"[*?[]", rest):
        from pipeline.sources.origins import base_of

        prefix, pattern = base_of(rest), re.compile(_regex(rest))
    [info] = system.get_file_info([prefix])
    if info.type == fs.FileType.File:
        return [_part(system, scheme, info, bucket, prefix.rpartition("/")[2])]
    if info.type == fs.FileType.NotFound and "/" in prefix and not pattern:
        raise _nothing_there(system, url, prefix)
    found = system.get_file_info(fs.FileSelector(prefix, recursive=True))
    files = [info for info in found if info.type == fs.FileType.File and (not pattern or pattern.match(info.path))]
    return [_part(system, scheme, info, bucket, info.path.removeprefix(prefix).lstrip("/")) for info in files]


def _regex(pattern: str) -> str:
    """A pattern over whole paths in which `*` stops at a slash and `**/` stands for any folders, as in local ones."""
    pieces = [translate(piece).removesuffix(r"\Z").removesuffix(r"\z") for piece in pattern.split("**/")]
    inner = [piece.removeprefix("(?s:").removesuffix(")").replace(".*", "[^/]*") for piece in pieces]
    return "(?:.*/)?".join(inner) + r"\Z"


def _nothing_there(system: Any, url: str, prefix: str) -> UserError:
    from pyarrow import fs

    above, _, name = prefix.rpartition("/")
    system.get_file_info(fs.FileSelector(prefix.partition("/")[0]))  # raises where there is no bucket
    near = [info.base_name for info in system.get_file_info(fs.FileSelector(above, allow_not_found=True))]
    close = get_close_matches(name, near, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else "Look at it with the store's own tool; names are case-sensitive."
    return UserError("data", "there is no such object.", url, hint)


def _part(system: Any, scheme: str, info: Any, bucket: str, name: str) -> Part:
    where = f"{scheme}://{info.path}"
    return Part(name, where, partial(_open, system, scheme, info.path), partial(_hash, system, scheme, info))


def _open(system: Any, scheme: str, path: str) -> BinaryIO:
    try:
        return cast(BinaryIO, io.BufferedReader(system.open_input_file(path), READ_AHEAD))
    except OSError as error:
        raise refused(scheme, f"{scheme}://{path}", error) from None


def _hash(system: Any, scheme: str, info: Any) -> str:
    """The store's own tag of the content with the length; a hash of the bytes where the store gives none."""
    import hashlib

    try:
        with system.open_input_stream(info.path, compression=None) as stream:
            tags = {name.lower(): value for name, value in (stream.metadata() or {}).items()}
            if tags.get("etag"):
                return content_key([info.size, tags["etag"].decode()])
            return hashlib.file_digest(cast(io.BytesIO, io.BufferedReader(stream, READ_AHEAD)), "sha256").hexdigest()
    except OSError as error:
        raise refused(scheme, f"{scheme}://{info.path}", error) from None


def refused(scheme: str, url: str, error: OSError) -> UserError:
    """What the store said, as something to act on. Its own words may hold key ids, so they are not repeated."""
    bucket = url.partition("://")[2].partition("/")[0]
    said = str(error)
    if NO_BUCKET.search(said):
        return UserError("data", f"there is no bucket '{bucket}'.", url, f"Is it another account's? {_keys(scheme)}")
    if DENIED.search(said):
        what = f"the store does not let us read '{bucket}': credentials are missing or lack the right."
        return UserError("environment", what, url, _keys(scheme))
    kind = re.search(r"AWS Error (\w+)", said)
    what = f"the store cannot be read ({kind[1] if kind else type(error).__name__})."
    return UserError("environment", what, url, f"Can it be reached from here? {_keys(scheme)}")


def _keys(scheme: str) -> str:
    return KEYS.get({"gcs": "gs", "abfss": "abfs"}.get(scheme, scheme), "")
