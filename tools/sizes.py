"""The size of each function's zip as `make build-lambdas` built it, and whether it keeps to its limit; and where this machine
can run it, how long it takes to its first poll and what memory it has then: the best and the median of some starts."""

import io
import platform
import statistics
import sys
import zipfile
from pathlib import Path

from starts import start

LIMIT = 6 << 20
STARTS = 21
# By the machine's number in the header of an ELF file.
MACHINES = {62: "x86_64", 183: "aarch64"}
# What a step reads at its start: settings that do not lead anywhere.
SETTINGS = {
    "SOURCE_ENDPOINT": "https://source.example/fhir",
    "SOURCE_CLIENT_ID": "client",
    "SOURCE_CLIENT_SECRET": "secret",
    "TARGET_ENDPOINT": "https://target.example/fhir",
    "TARGET_CLIENT_ID": "client",
    "TARGET_CLIENT_SECRET": "secret",
    "STAGING_URL": "s3://bucket",
}


def zipped(binary):
    """The size of a zip of the binary alone, compressed as Python's and SAM's are by default."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(binary, "bootstrap")
    return buffer.getbuffer().nbytes


def runs_here(binary):
    with open(binary, "rb") as program:
        return MACHINES.get(int.from_bytes(program.read(20)[18:], "little")) == platform.machine()


def started(binary):
    """What starts of it came to, as text."""
    starts = [start(binary, SETTINGS) for _ in range(STARTS)]
    seconds = [seconds for seconds, _ in starts]
    memory = max(memory for _, memory in starts)
    return f"{min(seconds) * 1000:.1f} ms ({statistics.median(seconds) * 1000:.1f}) to the first poll, {memory / (1 << 20):.1f} MiB at rest"


def main(folder):
    binaries = sorted(Path(folder).glob("*Function/bootstrap"))
    if not binaries:
        sys.exit(f"no function is built in {folder}: make build-lambdas")
    sizes = {binary.parent.name: zipped(binary) for binary in binaries}
    for binary, size in zip(binaries, sizes.values()):
        line = f"{binary.parent.name:27} {size / (1 << 20):.2f} MiB" + (f", more than {LIMIT >> 20} MiB" if size > LIMIT else "")
        print(f"{line}, {started(binary)}" if runs_here(binary) else line)
    sys.exit(max(sizes.values()) > LIMIT)


if __name__ == "__main__":
    main(sys.argv[1])
