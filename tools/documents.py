"""What docs/ and README.md tell people to type or look for is there.

Targets of make, and the alarms of template.yaml: each is explained in docs/operations.md, and none that is not there.
tools/check.py calls the checks.
"""

import re

from workflow import ROOT, template

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def typed(text):
    """What is set as code: within backticks, or indented by four."""
    yield from re.findall(r"`([^`\n]+)`", text)
    yield from re.findall(r"^    +(.+)$", text, re.MULTILINE)


def check_make():
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        for text in typed(path.read_text()):
            for target in re.findall(r"(?:^|\s)make ([a-z][\w-]*)", text):
                if target not in targets:
                    yield f"{path.relative_to(ROOT)}: make {target} is no target of the Makefile"


def check_alarms():
    resources = template()["Resources"]
    alarms = {name for name, what in resources.items() if what["Type"] == "AWS::CloudWatch::Alarm"}
    text = (ROOT / "docs/operations.md").read_text()
    told = set(re.findall(r"`(\w+Alarm)`", text))
    # Each function has one of these, of one meaning.
    each = {name for name in alarms if name.endswith("ThrottlesAlarm")}
    yield from (f"docs/operations.md does not say what to do about {name}" for name in sorted(alarms - told - each))
    if each and not each & told:
        yield "docs/operations.md does not say what to do about throttles"
    if alarms:
        yield from (f"docs/operations.md: {name} is no alarm of template.yaml" for name in sorted(told - alarms))
