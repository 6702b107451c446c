"""What `kintsugi push` sends to the Hugging Face Hub: a data set with its card, or a model or adapter with one.

Nothing is sent unless the user says so in that command; no node of an experiment ever sends anything.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from eval.report.cells import plain
from kintsugi.hub import settings_of, write_hub
from kintsugi.references import Artifact, find_artifact, find_dataset
from pipeline.adapters import ADAPTER_CONFIG, base_of
from pipeline.failures import UserError
from pipeline.store import write_json, write_text

CARD = "README.md"
KEPT = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", ADAPTER_CONFIG,
        "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja")  # fmt: skip
"""Of a model's directory what others load; logs and manifests tell of machines and stay."""


@dataclass(frozen=True)
class Repository:
    """Where files go on the Hub. `type` is `dataset` or `model`."""

    id: str
    type: str
    private: bool = True


def prepare(reference: str, repo: str, base: str | None, license: str, store: Path, runs: Path, draft: Path) -> str:
    """Write what is to be sent into the empty directory `draft`; gives its type, `dataset` or `model`.

    Raises config errors where the reference means nothing, or an adapter's base has no name on the Hub.
    """
    artifact = None if Path(reference).is_file() else find_artifact(reference, store, runs)
    if artifact is not None and artifact.manifest.product == "models":
        _write_model(artifact, repo, base, license, draft)
        return "model"
    if base is not None:
        raise UserError("config", "--base is for adapters.", reference, "Leave it out.")
    write_hub(find_dataset(reference, store, runs), draft, repo.partition("/")[2], license)
    return "dataset"


def _write_model(artifact: Artifact, repo: str, base: str | None, license: str, draft: Path) -> None:
    """The files that others load, an adapter's base under its name on the Hub, and a card."""
    source = artifact.directory
    for path in sorted({path for pattern in KEPT for path in source.glob(pattern) if path.is_file()}):
        shutil.copyfile(path, draft / path.name)
    adapter = (source / ADAPTER_CONFIG).is_file()
    if not adapter and base is not None:
        raise UserError("config", "--base is for adapters, and this is a whole model.", source.name, "Leave it out.")
    name = _hub_name(base or base_of(source), source) if adapter else ""
    if adapter:
        settings = json.loads((source / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        write_json(draft / ADAPTER_CONFIG, {**settings, "base_model_name_or_path": name})
    write_text(draft / CARD, _model_card(artifact, repo, name, license))


def _hub_name(base: str, source: Path) -> str:
    if base.startswith((".", "/")) or base.count("/") != 1:
        what = "the adapter's base is a model of this machine, which nobody else can load."
        hint = "Push the base first, then say where it is: --base OWNER/NAME."
        raise UserError("config", what, f"models/{source.name}", hint)
    return base


def _model_card(artifact: Artifact, repo: str, base: str, license: str) -> str:
    manifest = artifact.manifest
    front = {
        "license": license,
        "library_name": "peft" if base else "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": base} if base else {}),
        "tags": ["kintsugi", *(["lora"] if base else []), *(["dpo"] if manifest.kind == "preference" else [])],
    }
    what = f"A LoRA adapter for {base}" if base else "A model"
    learnt = next((item.name for item in manifest.inputs if item.role == "data"), "")
    rows = f" on `{plain(learnt)}`" if learnt else ""
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# {plain(repo)}\n\n"
        f"{plain(what)}, made with Kintsugi by a node of kind `{manifest.kind}`{rows}.\n\n"
        f"Settings: {plain(settings_of(manifest))}\n"
    )


def upload(folder: Path, to: Repository) -> str:
    """Make the repository where it is missing and send all files of a folder in one commit; gives its address.

    The token is that of `hf auth login` or HF_TOKEN; the address that of HF_ENDPOINT, else the public Hub.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _explained(to):
        made = api.create_repo(to.id, repo_type=to.type, private=to.private, exist_ok=True)
        api.upload_folder(repo_id=to.id, folder_path=folder, repo_type=to.type, commit_message="Made with Kintsugi")
    return str(made)


@contextmanager
def _explained(to: Repository) -> Iterator[None]:
    """What the Hub's library raises, as something to act on. Its messages never hold the token."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except HFValidationError as error:
        raise UserError(
            "config", f"this is no name of a repository: {_line(error)}", to.id, "Give OWNER/NAME."
        ) from None
    except LocalTokenNotFoundError:
        hint = "Run `hf auth login`, or put a token with write access into HF_TOKEN."
        raise UserError("environment", "there is no token for the Hub.", to.id, hint) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        hint = "The token in HF_TOKEN must be allowed to write there."
        raise UserError("environment", f"the Hub refused ({status}).", to.id, hint) from None
    except (httpx.HTTPError, OfflineModeIsEnabled, OSError) as error:
        what = f"the Hub cannot be reached: {_line(error)}"
        raise UserError("environment", what, to.id, "Nothing was sent, or not all of it: run it again.") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") + "."
