"""What a night costs beside its transfer: counting what arrived, reading it back, and applying deletions one by one.

    python3 tools/bench_nights.py FOLDER_OF_PROGRAMS

Standard library only. `make bench-nights` calls it. Everything is on this machine, the target's delays included, so the figures say
what this program and its requests take, and nothing of a real Pathling.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from sandbox import Sandbox

TYPES = ["Condition", "Encounter", "Observation", "Patient"]
DELETED_OF_EACH = 20
# What a Pathling Server takes for a deletion, in seconds: two to four.
DELETION = 2
SIZE = "256MiB"
SAMPLE = 1000


def main(programs):
    with tempfile.TemporaryDirectory(prefix="pathling-import-nights-") as folder:
        options = ["--pathling", "2", "--big", f"Observation={SIZE}", "--no-record"]
        options += ["--fault", f"delay=delete:{DELETION * 1000}"]
        sandbox = Sandbox(programs / "sandbox", Path(folder), *options)
        for kind in TYPES:
            for number in range(DELETED_OF_EACH):
                sandbox.put({"resourceType": kind, "id": f"deleted-{number}"})
        try:
            measure(programs / "pathling-import", sandbox)
        finally:
            sandbox.stop()


def measure(program, sandbox):
    settings = {**sandbox.settings, "SINCE": "auto", "EXPORT_RETRY_WAIT": "1", "IMPORT_RETRY_WAIT": "1"}
    record = night(program, settings)
    gib = record["transfer"]["bytes"] / (1 << 30)
    attempt = record["attempts"][-1]
    counting = seconds(attempt["done"], attempt["verified"])
    print(f"| counts of {len(record['transfer']['resources'])} types after the import | {counting:.3f} s, whatever the size; here for {gib:.2f} GiB |")
    begun = time.monotonic()
    command(program, settings, "verify", "--sample", str(SAMPLE))
    print(f"| reading {SAMPLE} of each type back | {time.monotonic() - begun:.1f} s |")

    deleted = 0
    for kind in TYPES:
        for number in range(DELETED_OF_EACH):
            sandbox.ask(f"source/{kind}/deleted-{number}", method="DELETE")
            deleted += 1
    record = night(program, settings)
    took = seconds(record["transfer"]["at"], record["deleted"]["done"])
    applied = sum(record["deleted"]["applied"].values())
    if applied != deleted:
        sys.exit(f"{applied} of {deleted} deletions were applied")
    print(f"| {applied} deletions of {len(TYPES)} types, {DELETION} s each | {took:.1f} s, {applied / took:.2f} a second |")


def night(program, settings):
    """A synchronisation; gives its run's record."""
    command(program, settings)
    return json.loads(command(program, settings, "report", "--log-format", "json"))


def command(program, settings, *arguments):
    own = {name: os.environ[name] for name in ["PATH", "HOME"] if name in os.environ}
    done = subprocess.run([program, *arguments], env={**own, **settings}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"pathling-import ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def seconds(begin, end):
    """How long it is from one moment of a record to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
