"""A stack, and the sandbox that it expects its source and its target to be."""

from sandbox import Sandbox

from local_aws import BINARIES, free_port

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
