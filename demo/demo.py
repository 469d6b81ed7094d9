"""A full synchronisation of HL7's examples from a sandbox's source to its Pathling, some changes, and an incremental one.

    python3 demo/demo.py FOLDER_OF_PROGRAMS FOLDER_OF_RESOURCES

Standard library only. `make demo` calls it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from sandbox import Sandbox  # noqa: E402


def main(programs, resources):
    # Stopped from outside, end what was started here as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pathling-import-demo-") as folder:
        say("A FHIR server with HL7's examples, an S3 and a Pathling start on this machine ...")
        sandbox = Sandbox(programs / "sandbox", Path(folder), "--data", resources, "--polls", "2")
        try:
            demonstrate(programs / "pathling-import", sandbox)
        finally:
            sandbox.stop()
    say(f"The demo took {time.monotonic() - begun:.0f} s. Nothing of it is left on this machine.")


def demonstrate(program, sandbox):
    total = sum(sandbox.counts()[0].values())
    say(f"1. A full synchronisation. The source holds {total:,} resources.")
    since = synchronise(program, sandbox.settings)
    compare(sandbox)

    say("2. At the source a patient gets a telephone, another is new, and an observation is corrected.")
    patient, observation = json.loads(sandbox.source("Patient")[0]), json.loads(sandbox.source("Observation")[0])
    patient["telecom"] = [{"system": "phone", "value": "+61 7 3253 3600"}]
    observation["status"] = "corrected"
    changed = [patient, observation, {"resourceType": "Patient", "id": "new-in-the-demo", "active": True}]
    for resource in changed:
        sandbox.put(resource)

    say(f"3. An incremental synchronisation: SINCE={since}")
    synchronise(program, {**sandbox.settings, "SINCE": since})
    compare(sandbox)
    for resource in changed:
        name = f"{resource['resourceType']}/{resource['id']}"
        if resource not in [json.loads(line) for line in sandbox.target(resource["resourceType"])]:
            sys.exit(f"{name} did not arrive as it is at the source")
        print(f"  {name} arrived as it is at the source")


def synchronise(program, settings):
    """Runs the command, shows its summary, and gives the instant after which the next delta begins."""
    # The sandbox's jobs take moments, so there is no sense in waiting a quarter of an hour between two polls.
    waits = {"EXPORT_RETRY_WAIT": "0.2", "IMPORT_RETRY_WAIT": "0.2"}
    # Settings and credentials that the caller has set are not for here.
    own = {name: os.environ[name] for name in ["PATH", "HOME", "TERM"] if name in os.environ}
    done = subprocess.run([program], env={**own, **settings, **waits}, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(f"pathling-import ended with {done.returncode}")
    return re.search(r"^As of +([^ ,]+)", done.stdout, re.MULTILINE).group(1)


def compare(sandbox):
    """Says what is in the target, and stops unless every type there has each resource of the source, byte for byte."""
    source, target = sandbox.counts()
    for kind in target:
        if sorted(sandbox.source(kind)) != sorted(sandbox.target(kind)):
            sys.exit(f"the target's {kind} resources are not the source's")
    missing = sorted(set(source) - set(target))
    print(f"  The target holds {sum(target.values()):,} resources of {len(target)} types, byte for byte the source's.", flush=True)
    if missing:
        print(f"  Of types that this Pathling cannot hold, {sum(source[kind] for kind in missing):,} stayed at the source.")


def say(sentence):
    print(f"\n{sentence}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
