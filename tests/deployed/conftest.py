"""What the tests share: one local AWS, the stacks in it, and a sandbox for each test where its stack expects one."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "tools"), str(HERE.parent / "workflow")]

from local_aws import BINARIES, free_port  # noqa: E402
from sandbox import Sandbox  # noqa: E402
from stack import Cloud  # noqa: E402

# The stack's parameters that say what the sandbox's settings say.
PARAMETERS = {
    "ENDPOINT": "Endpoint",
    "CLIENT_ID": "ClientId",
    "CLIENT_SECRET": "ClientSecret",
    "SCOPES": "Scopes",
    "USERNAME": "Username",
    "PASSWORD": "Password",
}

# What the tests have to say at the end.
LINES = []


@pytest.fixture(scope="session")
def cloud(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        cloud.build()
        yield cloud
    finally:
        cloud.aws.stop()


class Site:
    """A stack and the ports at which its source and target are: a sandbox of each test's own."""

    def __init__(self, cloud, name, options=(), **parameters):
        self.cloud, self.options, self.sandbox = cloud, options, None
        self.folder = cloud.folder / name
        self.folder.mkdir()
        self.ports = []
        for side in ("source", "token", "files", "target"):
            self.ports += [f"--{side}-port", free_port()]
        self.start()
        settings = self.sandbox.settings
        self.stop()
        given = {}
        for side in ("Source", "Target"):
            for ending, parameter in PARAMETERS.items():
                if value := settings.get(f"{side.upper()}_{ending}"):
                    is_secret = parameter in ("ClientSecret", "Password")
                    given[f"{side}{parameter}"] = cloud.secret(f"{name}/{side}", value) if is_secret else value
        # ministack takes a right CRC64NVME of a whole file in parts for a wrong one.
        self.parameters = {"StagingChecksum": "crc32"} | given | parameters
        self.name = name
        self.stack = self.deploy()

    def deploy(self, **other):
        """Deploys the stack, or deploys it again with other parameters."""
        return self.cloud.deploy(self.name, self.parameters | other)

    def start(self, *options):
        """Starts a sandbox with these options over a staging bucket that is empty."""
        folder = ["--s3-folder", self.cloud.objects]
        self.sandbox = Sandbox(BINARIES / "sandbox", self.folder, *self.ports, *folder, *self.options, *options)
        return self.sandbox

    def stop(self):
        sandbox, self.sandbox = self.sandbox, None
        if sandbox:
            sandbox.stop()

    def run(self, given="{}"):
        """Runs the stack's workflow to its end."""
        execution = self.stack.aws.run(self.stack.machine, given)
        LINES.append(f"{self.stack.name}: {' > '.join(execution.states)} > {execution.status}")
        return execution


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
