"""What a node kind is: its config, the inputs it names, its version, and how to make its artifact.

Kinds live in the `nodes.py` of each package and import nothing heavy, so that planning is instant. The graph in
`kintsugi` knows kinds by this contract alone.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pipeline.store import Input, Manifest, commit, read_manifest

Progress = Callable[[int, int, str], None]
"""Called with (done, total, unit) while a node is made."""


def _untold(*_: object) -> None:
    """What a work tells where nobody watches, as in a worker."""


DATA = "data"
REJECTS = "rejected"
NOTES = "notes"
"""The fact of a manifest that lists what whoever ran it should hear of, a sentence each."""

UNKEYED = frozenset({"kind", "resources", "checkpoint_every", "evaluate", "min_workers"})
"""Fields that never change a result, whatever the kind; and `kind`, which counts by itself."""

KEYED = "content key"
"""The context in which configs are dumped for a content key: parts of them may leave out what decides no result."""


def is_keyed(role: str) -> bool:
    """Whether a node follows from its input in this role, and its key counts it; not from rows it is measured on."""
    return role.partition(".")[0] not in UNKEYED


class NodeConfig(BaseModel):
    """What every node may say. Kinds add their own fields; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="What the node makes; it decides the other keys.")
    seed: int = Field(default=0, description="Seed of everything random here; the experiment's where none is given.")


class Resources(BaseModel):
    """What a node may use. It never changes a result, so it is left out of the content key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: float = Field(default=1, gt=0, description="CPU cores for each task or worker.")
    gpus: float = Field(default=0, ge=0, description="GPUs for each task or worker.")
    concurrency: int | None = Field(default=None, gt=0, description="Tasks at a time; by default one for each core.")


@dataclass(frozen=True)
class Reference:
    """What a config says of an input: the field it stands in, the text, and the products that field accepts.

    An `open` reference may also name something outside the graph, which its kind then resolves.
    """

    role: str
    text: str
    products: tuple[str, ...]
    open: bool = False


def identity(key: str, split: str) -> str:
    """An artifact and its split in one word."""
    return f"{key}.{split}" if split else key


@dataclass(frozen=True)
class Source:
    """An input as the maker sees it: its node's name and where its files are.

    The directory may be empty when a plan is made and full only when the node is made.
    """

    role: str
    name: str
    product: str
    key: str
    split: str
    root: Path

    @property
    def data(self) -> Path:
        """The directory of Parquet shards of this input (of its split, where it has splits)."""
        return self.root / self.split / DATA if self.split else self.root / DATA

    @property
    def identity(self) -> str:
        """The artifact and its split: equal where the rows are."""
        return identity(self.key, self.split)

    def manifest(self) -> Manifest:
        found = read_manifest(self.root)
        assert found is not None, f"{self.name} was read before it was made"
        return found

    def as_input(self) -> Input:
        return Input(self.role, self.name, self.product, self.key, self.split)


@dataclass
class Work:
    """One node to be made: everything its kind needs, and nothing of the graph.

    `progress` and `finished` tell whoever watches; `unwatched` gives a copy that can be pickled.
    """

    experiment: str
    name: str
    kind: str
    version: int
    product: str
    key: str
    config: Any
    directory: Path
    sources: list[Source]
    progress: Progress = field(default=_untold, repr=False)
    finished: Callable[[], None] = field(default=_untold, repr=False)
    started: float = field(default_factory=time.time)

    def unwatched(self, config: Any) -> Work:
        """A copy for another process, with its config as that process needs it."""
        return replace(self, config=config, progress=_untold, finished=_untold)

    def source(self, role: str) -> Source:
        """The one input in this role."""
        found = self.all_sources(role)
        assert len(found) == 1, f"{self.name}: {len(found)} inputs in the role '{role}'"
        return found[0]

    def all_sources(self, role: str) -> list[Source]:
        return [source for source in self.sources if source.role == role]

    def commit(self, rows: dict[str, int] | None = None, facts: dict[str, Any] | None = None) -> Manifest:
        """Write the manifest: from here on the artifact exists."""
        manifest = commit(
            self.directory,
            Manifest(
                kind=self.kind,
                version=self.version,
                product=self.product,
                key=self.key,
                config=self.config.model_dump(mode="json"),
                inputs=[source.as_input() for source in self.sources],
                rows=rows or {},
                facts=facts or {},
                wall_seconds=round(time.time() - self.started, 3),
            ),
        )
        self.finished()
        return manifest


class NodeKind(ABC):
    """A kind of node. `fan_out` names the field over whose referenced nodes it is multiplied, one node for each."""

    name: ClassVar[str]
    product: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[NodeConfig]]
    fan_out: ClassVar[str | None] = None
    named_inputs: ClassVar[bool] = False
    """Whether the names of its inputs and of the experiment are part of the result, and so of the key."""
    outside_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that say where something outside the store lies: what `outside` says of it counts, not the place."""

    @abstractmethod
    def inputs(self, config: Any) -> list[Reference]:
        """The references that this config makes. A role is the name of the field it stands in."""

    @abstractmethod
    def make(self, works: Sequence[Work]) -> None:
        """Make each artifact and commit it. Several works come only where `group` says they may."""

    def group(self, config: Any) -> Hashable | None:
        """Nodes of equal group are made in one call, in order, each able to read those before it. None: alone."""
        return None

    def splits(self, config: Any) -> tuple[str, ...]:
        """The splits of the artifact; empty where it has none."""
        return ()

    def unmet(self, config: Any, inputs: Mapping[str, str], made: Manifest) -> str:
        """What is asked for that an artifact of this key was made without; empty where it lacks nothing.

        `inputs` has the `Source.identity` of the input in each role.
        """
        return ""

    def outside(self, config: Any, inside: frozenset[str]) -> dict[str, str]:
        """What the result depends on outside the store, as name -> hash, for the key.

        `inside` holds the roles that name nodes. Raises a user error for what cannot be found, so that a plan fails
        before anything runs.
        """
        return {}
