"""docs/config.md says what the types say, today."""

import re

from pydantic import BaseModel, Field

from kintsugi import config_docs
from kintsugi.kinds import KINDS


def test_the_page_is_current():
    assert config_docs.FILE.read_text(encoding="utf-8") == config_docs.text(), "run `make docs`"


def test_every_kind_has_its_purpose_inputs_keys_and_an_example():
    page = config_docs.text()
    for kind in KINDS.values():
        section = page.partition(f"\n## {kind.name}\n")[2].partition("\n## ")[0]
        assert f"Gives {kind.product}." in section
        for name, info in kind.Config.model_fields.items():
            if name not in ("kind", "seed"):
                assert f"\n| `{info.alias or name}` |" in section
                assert info.description or isinstance(info.annotation, type)
    assert "Inputs: `init` (models, or outside the graph), `data` (rows)." in page
    assert "One node for each of `models`." in page
    headings = {line.strip("# ").lower() for line in page.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([a-z]+)\)", page)) - headings == set(), "a link leads nowhere"


def test_types_bounds_and_defaults_are_in_plain_words():
    class Inner(BaseModel):
        """An inner one. It has a second sentence."""

    class Model(BaseModel):
        share: float = Field(default=0.5, gt=0, le=1, description="A share.")
        names: list[str] | None = Field(default=None, description="One | or more.")
        inner: Inner = Inner()

    assert config_docs.table(Model).splitlines()[2:] == [
        "| `share` | number, more than 0, at most 1 | `0.5` | A share. |",
        "| `names` | list of text | none | One \\| or more. |",
        "| `inner` | [inner](#inner) | see there | An inner one. |",
    ]
