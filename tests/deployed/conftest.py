"""What the tests share: one local AWS, the stacks in it, and a sandbox for each test where its stack expects one."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "tools"), str(HERE.parent / "workflow")]

from sites import LINES, Site  # noqa: E402
from stack import Cloud  # noqa: E402


@pytest.fixture(scope="session")
def cloud(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        cloud.build()
        yield cloud
    finally:
        cloud.aws.stop()


@pytest.fixture(scope="session")
def standard_site(cloud):
    # Passwords are fetched by the functions themselves, under their roles.
    return Site(cloud, "standard", ["--auth", "basic"])


@pytest.fixture
def standard(standard_site):
    """The plain workflow's stack, where nothing was ever synchronised."""
    standard_site.stack.empty()
    yield standard_site
    standard_site.stop()


@pytest.fixture(scope="session")
def short_site(cloud):
    return Site(cloud, "short", TransferTimeout="3", TransferConcurrency="1")


@pytest.fixture
def short(short_site):
    """The same with little time for each call of the transfer."""
    short_site.timeout = 3
    short_site.stack.empty()
    yield short_site
    short_site.stop()


@pytest.fixture(scope="session")
def distributed_site(cloud):
    return Site(cloud, "distributed", Workflow="distributed", TransferWorkers="8", TransferTimeout="30")


@pytest.fixture
def distributed(distributed_site):
    """The distributed workflow's stack."""
    distributed_site.stack.empty()
    yield distributed_site
    distributed_site.stop()


@pytest.fixture(scope="session", autouse=True)
def scheduled(cloud):
    """A stack with a schedule, and its sandbox: deployed first, since its rule waits for a minute."""
    site = Site(cloud, "scheduled", Schedule="rate(1 minute)")
    site.start()
    yield site
    site.stop()


@pytest.fixture
def say():
    """Puts a line into the log of a run that passed too."""
    return LINES.append


def pytest_terminal_summary(terminalreporter):
    for line in LINES:
        terminalreporter.write_line(line)
