"""What masks are called in reports: by name, and policies in words."""

import pytest

from eval.report.build import mask_name


@pytest.mark.parametrize(
    ("mask", "name"),
    [
        (None, None),
        ("granular", "granular"),
        ({"chosen": "none", "rejected": "spans"}, "chosen none, rejected spans"),
        (
            {
                "chosen": {"tokens": "response", "eos": False},
                "rejected": {"tokens": "spans", "scale": 2.0, "eos": True},
            },
            "chosen response without EOS, rejected spans x 2 with EOS",
        ),
        ({"tokens": "spans", "eos": True}, "spans with EOS"),
    ],
)
def test_masks_have_names(mask: object, name: str | None) -> None:
    assert mask_name(mask) == name
