"""Links, versions, forms, hooks and the devcontainer, which people and their tools read, are correct."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml

from cli.main import app

ROOT: Final = Path(__file__).parents[2]
FORMS: Final = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
_RELEASE: Final = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def markdown_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub makes from a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if anchor and target.suffix == ".md":
        return target.is_file() and anchor in anchors_of(target)
    return target.exists()


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    # Code is never a link.
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:|/", link)]
    gone = [link for link in links if not leads_somewhere(page, link)]
    assert not gone, f"{page.relative_to(ROOT)} links to {gone}"


def test_contributing_links_to_every_document_for_people() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    linked = {link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    wanted = {
        ".ci/run",
        ".devcontainer/devcontainer.json",
        ".editorconfig",
        ".github/ISSUE_TEMPLATE",
        ".github/pull_request_template.md",
        ".github/workflows/ci.yml",
        ".github/workflows/release.yml",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/adr/README.md",
        "docs/versions.md",
    }
    assert wanted <= linked, f"CONTRIBUTING.md does not link to {sorted(wanted - linked)}"


def test_the_newest_release_of_the_changelog_is_the_packages_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## .+$", changelog, re.MULTILINE)
    assert headings[0] == "## [Unreleased]"
    assert all(_RELEASE.match(heading) for heading in headings[1:]), headings
    released = _RELEASE.findall(changelog)
    assert released[0][0] == version
    assert [day for _, day in released] == sorted((day for _, day in released), reverse=True)


def test_security_names_the_supported_version_and_no_address() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert f"(now {version.rpartition('.')[0]})" in text
    assert "Report a vulnerability" in text
    assert not re.search(r"\w@\w", text)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_is_one(form: Path) -> None:
    read: dict[str, Any] = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(read)
    asked = [element for element in read["body"] if element["type"] != "markdown"]
    ids = [element["id"] for element in asked]
    assert len(ids) == len(set(ids))
    assert all(element["attributes"]["label"] for element in asked)


@pytest.mark.parametrize("name", ["agent-did-not-join", "bug"])
def test_who_reports_a_fault_is_asked_for_what_finds_it(name: str) -> None:
    [form] = [form for form in FORMS if form.stem.endswith(name)]
    text = form.read_text(encoding="utf-8")
    assert "id: session" in text
    assert "`rollcall session ID --json`" in text
    assert "`rollcall doctor`" in text


def test_commands_that_people_are_asked_for_are_there() -> None:
    commands = set(typer.main.get_group(app).commands)
    files = [*FORMS, ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"]
    asked = {
        name for file in files for name in re.findall(r"`rollcall (\w+)", file.read_text(encoding="utf-8"))
    }
    assert asked
    assert asked <= commands, f"there is no {sorted(asked - commands)}"


def test_hooks_are_the_projects_own_tools_and_download_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {" ".join(hook["entry"].split()[:2]) for hook in hooks} == {
        ".venv/bin/ruff check",
        ".venv/bin/ruff format",
    }


def test_the_devcontainer_builds_on_the_image_of_the_deployment() -> None:
    def base_of(dockerfile: str) -> str:
        text = (ROOT / dockerfile).read_text(encoding="utf-8")
        base: str
        [base] = re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
        assert "FROM ${BASE}" in text
        return base

    assert base_of(".devcontainer/Dockerfile") == base_of("deploy/Dockerfile")
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["build"] == {"dockerfile": "Dockerfile"}
    assert container["postCreateCommand"] == "make setup"
    assert re.search(r"^setup:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
