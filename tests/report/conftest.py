"""What the tests share: a browser, and runs of the real command against a sandbox, whose pages it looks at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from browser import Browser  # noqa: E402
from sandbox import Sandbox  # noqa: E402

BINARIES = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
QUICK = {f"{job}_RETRY_WAIT": "0.02" for job in ("EXPORT", "TRANSFER", "IMPORT")}


class Staged:
    """A staging folder, and the command with it."""

    def __init__(self, folder, settings):
        self.folder = folder / "staging"
        self.page = folder / "page.html"
        self.env = {"PATH": os.environ["PATH"], **settings, **QUICK, "STAGING_URL": str(self.folder)}

    def command(self, *words, code=0, **env):
        command = [BINARIES / "pathling-import", *words]
        ended = subprocess.run(command, env=self.env | env, capture_output=True, text=True, timeout=300)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    def write_page(self, *words):
        self.command("report", "--html", str(self.page), *words)
        return self.page

    def record_file(self):
        (file,) = self.folder.glob("runs/*/_run.json")
        return file

    def record(self):
        return json.loads(self.record_file().read_text())

    def log(self):
        lines = [line for file in sorted(self.folder.glob("runs/*/_log*.ndjson")) for line in file.open()]
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def arrived(tmp_path_factory):
    """A run that arrived, after some attempts at files that failed."""
    folder = tmp_path_factory.mktemp("arrived")
    files = ("--patients", "40", "--files", "Observation=12x200KiB", "--files", "Condition=3x400KiB")
    faults = ("--fault", "files-503=3", "--fault", "export-errors=warnings")
    sandbox = Sandbox(BINARIES / "sandbox", folder, "--pathling", "2", "--polls", "2", *files, *faults)
    staged = Staged(folder, sandbox.settings)
    staged.command(SINCE="auto")
    staged.write_page()
    yield staged
    sandbox.stop()


@pytest.fixture
def staged(tmp_path):
    """Makes a staging folder of a sandbox with these options, of which no run was started."""
    started = []

    def make(*options):
        started.append(Sandbox(BINARIES / "sandbox", tmp_path, *options))
        return Staged(tmp_path, started[0].settings)

    yield make
    for sandbox in started:
        sandbox.stop()
