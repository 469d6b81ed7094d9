"""The sandbox program as a script uses it: started, asked what arrived, and stopped. Standard library only."""

import json
import subprocess
import time
import urllib.request

# How long a start may take: HL7's examples are 190 MB of JSON to read.
PATIENCE = 120


class Sandbox:
    """A FHIR source, a token endpoint, an S3 and a Pathling in a process of their own, on ports that were free."""

    def __init__(self, program, folder, *options):
        ready, log = folder / "sandbox.json", folder / "sandbox.log"
        self.log = log
        ready.unlink(missing_ok=True)
        command = [program, "--control", "0", "--format", "json", "--ready-file", ready, *options]
        with log.open("w") as out:
            self.process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait(timeout=PATIENCE)
                raise RuntimeError(f"the sandbox did not start:\n{log.read_text()}")
            time.sleep(0.05)
        # The environment that leads pathling-import to it.
        self.settings = json.loads(ready.read_text())
        self.control = self.settings.pop("SANDBOX_CONTROL")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        # It ends with an error where a credential went astray, so that no test can forget to ask.
        if self.process.wait(timeout=PATIENCE) != 0:
            raise RuntimeError(f"the sandbox ended with an error:\n{self.log.read_text()}")

    def ask(self, path, body=None, method=None):
        """A request to the control listener. Its source says what there is to ask."""
        request = urllib.request.Request(f"{self.control}/{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()

    def counts(self):
        """Resources by type that the source holds, and rows by type in the target."""
        counts = json.loads(self.ask("counts"))
        return counts["source"], counts["target"]

    def source(self, kind):
        """The source's resources of a type, each as its line."""
        return self.ask(f"resources/{kind}").splitlines()

    def target(self, kind):
        """The target's rows of a type, each as its line."""
        return self.ask(f"rows/{kind}").splitlines()

    def put(self, resource):
        """Creates or changes a resource at the source."""
        self.ask("source", json.dumps(resource, separators=(",", ":"), ensure_ascii=False).encode())

    def fault(self, name):
        """Switches a fault on."""
        self.ask("faults", name.encode())

    def no_faults(self):
        """Switches all faults off."""
        self.ask("faults", method="DELETE")

    def token_leaks(self):
        """Every request in which a token went to an origin that it is not for."""
        return json.loads(self.ask("leaks"))
