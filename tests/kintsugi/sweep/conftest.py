"""A small sweep to plan with."""

import pytest
from sweep_files import EXPERIMENT, SWEEP

from kintsugi.sweep.config import load_sweep
from kintsugi.sweep.plan import make_plan


@pytest.fixture
def sweep_file(tmp_path):
    """Write a sweep file, changed by (old, new) pairs, beside its experiment."""

    def write(*changes, experiment=EXPERIMENT):
        text = SWEEP
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / "recovery.yaml").write_text(experiment)
        (tmp_path / "sweep.yaml").write_text(text)
        return tmp_path / "sweep.yaml"

    return write


@pytest.fixture
def plan_of(sweep_file):
    """The plan of such a file, with `--set` overrides."""

    def plan(*changes, overrides=(), experiment=EXPERIMENT):
        return make_plan(load_sweep(sweep_file(*changes, experiment=experiment), overrides))

    return plan
