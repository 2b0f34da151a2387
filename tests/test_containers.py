"""What can be told of ``containers/`` without building or starting anything; `make containers` really builds."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.launchers.kubernetes_job import OWNER_VARIABLES
from catena.graphs.setting import check_setting
from catena.graphs.url import PASSWORD_VARIABLE, StoreUrl
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

ROOT = Path(__file__).parents[1]
CONTAINERS = ROOT / "containers"
KUBERNETES = CONTAINERS / "kubernetes"
FILES = sorted(path for path in CONTAINERS.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
MANIFESTS = sorted(set(KUBERNETES.glob("*.yaml")) - {KUBERNETES / "kustomization.yaml", KUBERNETES / "experiment.yaml"})
SCRIPTS = [path for path in FILES if path.suffix in {".sh", ".sbatch"}]
KUBERNETES_VERSIONS = ("1.30", "1.34")
PINNED = re.compile(r"[\w./-]+:(\d+\.\d+(\.\d+)?[\w.-]*)|[\w./-]+@sha256:[0-9a-f]{64}")


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def values_of(tree: object, key: str) -> Iterator[Any]:
    """Yield what stands under `key` anywhere in a tree of mappings and lists."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if name == key:
            yield value
        yield from values_of(value, key)


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    found = [each for path in MANIFESTS for each in documents(path)]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    (found,) = documents(CONTAINERS / "compose.yaml")
    return found


@pytest.fixture(scope="module")
def experiment() -> LocalShapeDescriptorsConfig:
    (values,) = documents(KUBERNETES / "experiment.yaml")
    return LocalShapeDescriptorsConfig.parse(values, "experiment.yaml")


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (CONTAINERS / "Dockerfile").read_text()


# the image


def test_the_base_image_can_be_chosen_and_every_stage_stands_on_it(dockerfile: str) -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", dockerfile, re.M)
    assert re.match(r"(#.*\n)*ARG BASE_IMAGE=\S+\n", dockerfile)
    assert stages == [("${BASE_IMAGE}", "python"), ("python", "wheel"), ("python", "environment"), ("python", "")]


def test_the_image_runs_as_another_user_than_root(dockerfile: str) -> None:
    final = dockerfile[dockerfile.rindex("\nFROM ") :]
    users = re.findall(r"^USER (\d+):(\d+)$", final, re.M)
    assert users == [("1000", "1000")]
    assert final.index("\nUSER ") > final.rindex("\nRUN ")


def test_no_setting_of_the_build_reaches_the_final_stage(dockerfile: str) -> None:
    final = dockerfile[dockerfile.rindex("\nFROM ") :]
    assert "ARG " not in final
    assert "secret" not in final


def test_pip_keeps_no_cache_in_the_image(dockerfile: str) -> None:
    installing = re.findall(r"pip (?:install|wheel) .*", dockerfile)
    assert len(installing) == 4
    assert all("--no-cache-dir" in each for each in installing)


def test_the_build_sees_every_package_of_the_wheel_and_every_copied_file(dockerfile: str) -> None:
    ignored = (CONTAINERS / "Dockerfile.dockerignore").read_text().splitlines()
    seen = {line[1:] for line in ignored if line.startswith("!")}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.M) for word in line.split()}
    assert "*" in ignored
    assert {*wheel["packages"], "pyproject.toml", "README.md", "LICENSE"} <= seen
    assert copied - {"."} <= seen
    assert all((ROOT / each).exists() for each in seen)


def test_the_demo_is_a_configuration_and_runs_on_what_its_script_makes() -> None:
    (values,) = documents(CONTAINERS / "demo.yaml")
    volume = LocalShapeDescriptorsConfig.parse(values, "demo.yaml").volumes["phantom"]
    made = re.search(r"catena synthesise (\S+) --shape (\d+)", (CONTAINERS / "demo.sh").read_text())
    assert made is not None
    assert str(volume.raw) == f"{made[1]}/volumes/raw"
    assert values["volumes"]["phantom"]["regions"]["test"]["z"][1] == int(made[2])


# scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_understood_by_their_shell(script: Path) -> None:
    shell = script.read_text().splitlines()[0].rpartition("/")[2].rpartition(" ")[2]
    checked = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_slurm_master_is_replaced_by_catena_so_that_signals_reach_it() -> None:
    lines = (CONTAINERS / "slurm" / "catena.sbatch").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert lines[-1] == 'exec catena run "$@"'
    assert "#SBATCH --signal=B:TERM@120" in lines
    assert max(directives) < first  # Slurm ignores those below a command


# compose


def test_compose_names_only_pinned_images(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items() if "build" not in service}
    assert set(images) == {"postgresql", "mongodb"}
    assert [image for image in images.values() if not PINNED.fullmatch(image)] == []


@pytest.mark.parametrize("image", ["postgres", "postgres:latest", "docker.io/library/mongo:7"])
def test_an_image_that_is_not_pinned_is_noticed(image: str) -> None:
    assert not PINNED.fullmatch(image)


def test_compose_takes_passwords_from_the_environment_alone(compose: dict[str, Any]) -> None:
    variables = {
        name: value
        for service in compose["services"].values()
        for name, value in service["environment"].items()
        if "PASSWORD" in name
    }
    assert variables == {
        PASSWORD_VARIABLE: f"${{{PASSWORD_VARIABLE}:?set it to the password of the graph store}}",
        "POSTGRES_PASSWORD_FILE": "/run/secrets/store_password",
        "MONGO_INITDB_ROOT_PASSWORD_FILE": "/run/secrets/store_password",
    }
    assert compose["secrets"] == {"store_password": {"environment": PASSWORD_VARIABLE}}


def test_compose_databases_keep_their_data_and_tell_whether_they_are_ready(compose: dict[str, Any]) -> None:
    for name in ("postgresql", "mongodb"):
        service = compose["services"][name]
        assert service["volumes"][0].split(":")[0] in compose["volumes"]
        assert service["healthcheck"]["test"][0] == "CMD"
        assert "ports" not in service  # reachable for Catena, not from outside


# kubernetes


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid(path: Path, version: str) -> None:
    found = documents(path)
    assert found
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)


def test_an_invalid_manifest_is_noticed() -> None:
    job = manifests()["Job", "catena-master"]
    job["spec"]["backofLimit"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(job, KUBERNETES_VERSIONS[0], strict=True)


def test_kustomization_lists_files_that_are_there_and_never_the_example_secret() -> None:
    (found,) = documents(KUBERNETES / "kustomization.yaml")
    named = {*found["resources"], *(name for each in found["configMapGenerator"] for name in each["files"])}
    assert all((KUBERNETES / name).is_file() for name in named)
    present = {path.name for path in KUBERNETES.iterdir()}
    assert present - named == {"kustomization.yaml", "secret.example.yaml", "mongodb.yaml"}


def test_manifests_name_no_namespace() -> None:
    assert [name for name, each in manifests().items() if "namespace" in each["metadata"]] == []


def test_manifests_name_only_pinned_images() -> None:
    images = {image for each in manifests().values() for image in values_of(each, "image")}
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    (replaced,) = kustomization["images"]
    assert [image for image in images - {replaced["name"]} if not PINNED.fullmatch(image)] == []
    assert PINNED.fullmatch(f"{replaced['newName']}:{replaced['newTag']}")


def test_no_pod_runs_as_root_or_may_become_root() -> None:
    pods = [each["spec"]["template"]["spec"] for each in manifests().values() if "template" in each.get("spec", {})]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert [each["securityContext"]["allowPrivilegeEscalation"] for each in pod["containers"]] == [False]


def test_every_password_comes_from_the_secret_whose_example_holds_none() -> None:
    found = manifests()
    secret = found["Secret", "catena-store"]
    assert secret["stringData"] == {PASSWORD_VARIABLE: ""}
    variables = [each for manifest in found.values() for env in values_of(manifest, "env") for each in env]
    passwords = [each for each in variables if "PASSWORD" in each["name"]]
    reference = {"secretKeyRef": {"name": "catena-store", "key": PASSWORD_VARIABLE}}
    assert [each["valueFrom"] for each in passwords] == [reference, reference]


def test_the_master_may_start_jobs_and_workers_see_its_data_and_passwords(
    experiment: LocalShapeDescriptorsConfig,
) -> None:
    found = manifests()
    (bound,) = found["RoleBinding", "catena-master"]["subjects"]
    jobs = next(rule for rule in found["Role", "catena-master"]["rules"] if rule["resources"] == ["jobs"])
    pod = found["Job", "catena-master"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = {each["persistentVolumeClaim"]["claimName"]: mounts[each["name"]] for each in pod["volumes"][:1]}
    workers: ExecutionConfig = experiment.execution.of("predict")
    assert pod["serviceAccountName"] == bound["name"] == "catena-master"
    assert {"create", "get", "delete"} <= set(jobs["verbs"])
    assert workers.launcher == "kubernetes"
    assert workers.claims == claims
    assert ("PersistentVolumeClaim", *claims) in found
    assert list(workers.secrets) == [each["secretRef"]["name"] for each in container["envFrom"]]


def test_the_master_knows_its_pod_so_that_workers_are_deleted_with_it() -> None:
    (container,) = manifests()["Job", "catena-master"]["spec"]["template"]["spec"]["containers"]
    named = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in container["env"]}
    assert named == dict(zip(OWNER_VARIABLES, ("metadata.name", "metadata.uid"), strict=True))


def test_workers_run_the_image_of_the_master(experiment: LocalShapeDescriptorsConfig) -> None:
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    (image,) = kustomization["images"]
    assert experiment.execution.of("predict").image == f"{image['newName']}:{image['newTag']}"


@pytest.mark.parametrize("path", [*MANIFESTS, CONTAINERS / "compose.yaml"], ids=lambda path: path.name)
def test_store_urls_in_comments_are_understood_and_lead_to_a_service(path: Path, compose: dict[str, Any]) -> None:
    hosts = {name for kind, name in manifests() if kind == "Service"} | set(compose["services"])
    for url in re.findall(r"agglomerate\.store: (\S+)", path.read_text()):
        check_setting(url)
        assert StoreUrl.parse(url).hosts in hosts


# documentation


def test_every_file_is_explained_in_the_documentation() -> None:
    page = (ROOT / "docs" / "containers.md").read_text()
    named = set(re.findall(r"`([^`\s]+)`", page))
    assert [str(path.relative_to(ROOT)) for path in FILES if str(path.relative_to(ROOT)) not in named] == []


def test_what_the_documentation_names_is_there() -> None:
    page = (ROOT / "docs" / "containers.md").read_text()
    named = set(re.findall(r"containers/[\w./-]+\w", page))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
