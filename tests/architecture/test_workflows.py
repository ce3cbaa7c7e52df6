"""GitHub's workflows run what CI runs, and a release builds every image and wheel."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / ".github" / "workflows"
WORKFLOWS: Final = sorted(FOLDER.glob("*.yml"))
# A host has a dot, or a port, before the first slash.
_WITH_HOST: Final = re.compile(r"^[^/]*[.:][^/]*/|^localhost/")
_MAJOR_VERSION: Final = re.compile(r"^actions/[\w-]+@v\d+$")


def read(name: str) -> dict[str, Any]:
    """Read a YAML file with every value as text: YAML 1.1 reads the key `on` as true."""
    loaded: dict[str, Any] = yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return loaded


def workflow(name: str) -> dict[str, Any]:
    return read(f".github/workflows/{name}.yml")


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def stages() -> set[str]:
    """Every stage of the Dockerfile."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    return set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))


def built_by_compose() -> set[str]:
    """Every target that docker-compose.yml builds."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return {service["build"]["target"] for service in services.values() if "build" in service}


def test_every_push_and_pull_request_runs_what_ci_runs() -> None:
    ci = workflow("ci")
    assert {"push", "pull_request"} <= set(ci["on"])
    assert [step["run"] for step in steps(ci) if "run" in step][-1] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_a_release_is_made_of_a_tag_whose_tests_passed() -> None:
    release = workflow("release")
    assert release["on"] == {"push": {"tags": ["v*"]}}
    assert release["jobs"]["test"] == {"uses": "./.github/workflows/ci.yml"}
    for name in ("wheel", "images"):
        assert "test" in release["jobs"][name]["needs"], f"{name} does not wait for the tests"


def test_a_release_builds_every_image_that_compose_builds() -> None:
    targets = workflow("release")["jobs"]["images"]["strategy"]["matrix"]["target"]
    assert len(targets) == len(set(targets))
    assert set(targets) == built_by_compose()
    assert set(targets) <= stages()


def test_images_are_pushed_only_where_the_repository_says_so() -> None:
    images = workflow("release")["jobs"]["images"]
    assert images["env"]["REGISTRY"] == "${{ vars.IMAGE_REGISTRY }}"
    pushing = [step for step in images["steps"] if re.search(r"docker (push|login)", step.get("run", ""))]
    assert len(pushing) == 1
    assert pushing[0]["if"] == "${{ vars.IMAGE_REGISTRY != '' }}"
    pushed = re.findall(r"docker push (\S+)", pushing[0]["run"])
    assert pushed
    assert all(image.startswith('"$REGISTRY/') for image in pushed)


def test_a_release_has_the_wheel_of_the_version_that_the_tag_names() -> None:
    commands = "\n".join(step.get("run", "") for step in workflow("release")["jobs"]["wheel"]["steps"])
    assert 'test "$GITHUB_REF_NAME" = "v$version"' in commands
    assert "--require-hashes" in commands
    assert re.search(r"gh release upload .*\.whl", commands)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_githubs_own_in_a_major_version(path: Path) -> None:
    used = [step["uses"] for step in steps(workflow(path.stem)) if "uses" in step]
    assert [one for one in used if not _MAJOR_VERSION.match(one)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_write_nothing_unless_a_job_says_what(path: Path) -> None:
    assert workflow(path.stem)["permissions"] == {"contents": "read"}


def test_no_image_names_its_registry() -> None:
    named = [job["container"]["image"] for job in workflow("ci")["jobs"].values() if "container" in job]
    for dockerfile in (ROOT / "deploy" / "Dockerfile", ROOT / ".devcontainer" / "Dockerfile"):
        text = dockerfile.read_text(encoding="utf-8")
        named += re.findall(r"^FROM (\S+)", text, re.MULTILINE)
        named += re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    named += [
        service["image"] for service in read("docker-compose.yml")["services"].values() if "image" in service
    ]
    assert named
    assert [image for image in named if _WITH_HOST.match(image)] == []
