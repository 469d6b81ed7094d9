"""Checks the template, the workflows, the containers, the policies and what documents name.

Prints each fault, and ends with "N passed, N failed".
"""

import sys

import containers
import documents
import policies
import template_checks
import watching_checks
import workflow

CHECKED = (workflow, template_checks, watching_checks, containers, documents, policies)


def main():
    passed = failed = 0
    for module in CHECKED:
        for name, check in vars(module).items():
            if name.startswith("check_"):
                faults = list(check())
                passed, failed = passed + (not faults), failed + bool(faults)
                for fault in faults:
                    print(f"{name.removeprefix('check_')}: {fault}")
    print(f"template, workflows, containers, policies and documents: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
