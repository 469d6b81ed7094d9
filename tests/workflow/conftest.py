"""What the tests share: one local AWS for all of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from local_aws import LocalAws  # noqa: E402


@pytest.fixture(scope="session")
def aws(tmp_path_factory):
    local = LocalAws(tmp_path_factory.mktemp("aws"))
    yield local
    local.stop()
