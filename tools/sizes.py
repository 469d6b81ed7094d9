"""The size of each function's zip as `make build-lambdas` built it, and whether it keeps to its limit."""

import io
import sys
import zipfile
from pathlib import Path

LIMIT = 6 << 20


def zipped(binary):
    """The size of a zip of the binary alone, compressed as Python's and SAM's are by default."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(binary, "bootstrap")
    return buffer.getbuffer().nbytes


def main(folder):
    binaries = sorted(Path(folder).glob("*Function/bootstrap"))
    if not binaries:
        sys.exit(f"no function is built in {folder}: make build-lambdas")
    sizes = {binary.parent.name: zipped(binary) for binary in binaries}
    for name, size in sizes.items():
        print(f"{name:27} {size / (1 << 20):.2f} MiB" + (f", more than {LIMIT >> 20} MiB" if size > LIMIT else ""))
    sys.exit(max(sizes.values()) > LIMIT)


if __name__ == "__main__":
    main(sys.argv[1])
