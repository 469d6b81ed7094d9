"""Checks template.yaml and the definitions of step-functions/: prints each fault, and ends with "N passed, N failed"."""

import sys

import template_checks
import watching_checks
import workflow


def main():
    passed = failed = 0
    for module in (workflow, template_checks, watching_checks):
        for name, check in vars(module).items():
            if name.startswith("check_"):
                faults = list(check())
                passed, failed = passed + (not faults), failed + bool(faults)
                for fault in faults:
                    print(f"{name.removeprefix('check_')}: {fault}")
    print(f"workflow and template: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
