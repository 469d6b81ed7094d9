"""The workflows as they are deployed, and what the general checkers do not see in them.

`definition` puts into a definition of step-functions/ what template.yaml substitutes. The functions `check_...` compare
template and definitions with each other and with the tables of the Rust code; tools/check.py calls them.
"""

import copy
import functools
import json
import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ASL = ROOT / "step-functions/pathling-import.asl.json"
# The same with many machines at the transfer.
DISTRIBUTED = ROOT / "step-functions/pathling-import-distributed.asl.json"
# How often a step that stops before its deadline is called again: as often as Step Functions allows.
WITHOUT_END = 99999999
# Waits that grow do so up to this, in seconds; Step Functions wants it above the first of them.
LONGEST_DELAY = 3600


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref X` becomes {"Ref": "X"}."""


def _short_form(loader, name, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if name == "GetAtt":
        value = value.split(".")
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


Loader.add_multi_constructor("!", _short_form)


@functools.cache
def _described(text):
    return yaml.load(text, Loader)


def template():
    """What template.yaml describes, for the caller to change as it likes."""
    return copy.deepcopy(_described((ROOT / "template.yaml").read_text()))


def largest(value):
    """A number, or the largest that a parameter may be."""
    if isinstance(value, int):
        return value
    parameter = template()["Parameters"][value["Ref"]]
    return parameter["MaxValue"] if "MaxValue" in parameter else max(parameter["AllowedValues"])


def substitutions(parameters=None):
    """What template.yaml substitutes, as text: parameters by their value here or their default, a function's ARN by its
    logical name in an account of documentation. AWS's own parameters are among them."""
    described = template()
    defaults = {name: what.get("Default", "") for name, what in described["Parameters"].items()}
    values = {"AWS::Partition": "aws"} | defaults | (parameters or {})
    out = {}
    for name, value in described["Resources"]["StateMachine"]["Properties"]["DefinitionSubstitutions"].items():
        if "Ref" in value:
            out[name] = str(values[value["Ref"]])
        else:
            logical, attribute = value["Fn::GetAtt"]
            assert attribute == "Arn", f"{name} is not an ARN"
            out[name] = f"arn:{values['AWS::Partition']}:lambda:us-east-1:123456789012:function:{logical}"
    return out


def definition(parameters=None, arns=None, asl=ASL):
    """A definition's text as CloudFormation makes it. `arns` replaces functions' ARNs, by the substitution's name."""
    text = asl.read_text()
    for name, value in (substitutions(parameters) | (arns or {})).items():
        text = text.replace("${" + name + "}", value)
    return text


def environment(step, parameters):
    """The environment of a step's function: `parameters` by their value here or their default."""
    described = template()
    values = {name: what.get("Default", "") for name, what in described["Parameters"].items()} | parameters
    values["AWS::StackName"] = "stack"

    def holds(condition):
        """Whether a condition of the template holds, in the functions that it uses."""
        ((function, of),) = condition.items()
        if function == "Condition":
            return holds(described["Conditions"][of])
        if function == "Fn::Not":
            return not holds(of[0])
        if function == "Fn::Or":
            return any(holds(one) for one in of)
        if function == "Fn::Equals":
            return value(of[0]) == value(of[1])
        raise ValueError(f"a condition by {function}")

    def value(of):
        """What it comes to; None where that is no value at all."""
        if not isinstance(of, dict):
            return str(of)
        if of == {"Ref": "AWS::NoValue"}:
            return None
        if "Ref" in of:
            return str(values[of["Ref"]])
        if "Fn::If" in of:
            condition, yes, no = of["Fn::If"]
            return value(yes if holds({"Condition": condition}) else no)
        return re.sub(r"\$\{([\w:]+)\}", lambda name: values[name[1]], of["Fn::Sub"])

    found = {name: value(of) for name, of in variables(described, step).items()}
    return {name: text for name, text in found.items() if text is not None}


def variables(described, step):
    """The variables of a step's function as the template describes them."""
    own = described["Resources"][STEPS[step]]["Properties"]["Environment"]["Variables"]
    return described["Globals"]["Function"]["Environment"]["Variables"] | own


def errors():
    """The names of the Rust code's table, each with whether another try can mend it."""
    source = (ROOT / "crates/core/src/error.rs").read_text()
    rows = re.findall(r'name: "(\w+)",.*?retried: (true|false),', source, re.DOTALL)
    return {name: retried == "true" for name, retried in rows}


def settings():
    """The settings that each step reads, from the table that the Rust code writes into docs/configuration.md."""
    steps = {name: set() for name in STEPS}
    for line in (ROOT / "docs/configuration.md").read_text().splitlines():
        row = re.match(r"\| `([A-Z_]+)` \|.*?\|.*?\| ([^|]*) \| [^|]* \|$", line)
        if row:
            for step in steps if row[2] == "all" else re.findall(r"`([\w-]+)`", row[2]):
                steps[step].add(row[1])
    return steps


# The function of each step, by its name in the template.
STEPS = {
    "fhir-export": "FhirExportFunction",
    "check-export-status": "CheckExportStatusFunction",
    "transfer-to-s3": "TransferToS3Function",
    "pathling-import": "PathlingImportFunction",
    "check-import-status": "CheckImportStatusFunction",
}


def check_substitutions():
    # Both have the same, of which the distributed workflow uses each.
    given, unused = set(substitutions()), set(substitutions())
    for asl in (ASL, DISTRIBUTED):
        asked = set(re.findall(r"\$\{(\w+)\}", asl.read_text()))
        unused -= asked
        yield from (f"{asl.name}: ${{{name}}} has no substitution in template.yaml" for name in asked - given)
    yield from (f"the substitution {name} is not used" for name in unused)


def check_machines():
    """The two state machines differ in their definition and in when they are there."""
    one, other = (template()["Resources"][name] for name in ("StateMachine", "DistributedStateMachine"))
    if (one["Condition"], other["Condition"]) != ("IsStandard", "IsDistributed"):
        yield f"the state machines are there when {one['Condition']} and {other['Condition']}"
    for machine, asl in ((one, ASL), (other, DISTRIBUTED)):
        uri = machine["Properties"].pop("DefinitionUri")
        if ROOT / uri != asl:
            yield f"{uri} is not {asl.name}"
    if one["Properties"] != other["Properties"]:
        yield f"the state machines differ: {one['Properties']} and {other['Properties']}"


def states(asl=ASL, parameters=None):
    return json.loads(definition(parameters, asl=asl))["States"]


def check_states():
    expected = [
        ("FHIR export", "Check export status"),
        ("Check export status", "Transfer to S3"),
        ("Transfer to S3", "Pathling import"),
        ("Pathling import", "Check import result"),
        ("Check import result", "Check import status"),
        ("Import not necessary", None),
        ("Check import status", None),
    ]
    found = [(name, state.get("Next", state.get("Default"))) for name, state in states().items()]
    if found != expected:
        yield f"the states and their order are {found}"
    choice = states()["Check import result"]["Choices"]
    if choice != [{"Variable": "$.statusUrl", "IsNull": True, "Next": "Import not necessary"}]:
        yield f"the choice is {choice}"
    for name, state in states().items():
        # Each step gets the one before's output whole, and gives its own whole.
        filters = {"InputPath", "Parameters", "ResultSelector", "ResultPath", "OutputPath", "Catch"} & set(state)
        # But for the first, whose input is nobody's output: there the name of the execution comes in.
        if name == "FHIR export" and state.get("Parameters") == {"execution.$": "$$.Execution.Name"}:
            filters -= {"Parameters"}
        elif name == "FHIR export":
            yield f"{name}: the name of the execution does not come in"
        if filters:
            yield f"{name}: {', '.join(sorted(filters))} changes what the steps pass on"


def check_distributed():
    """It is the other workflow with two states between the export and the transfer; comments aside."""

    def bare(state):
        return {name: value for name, value in state.items() if name != "Comment"}

    found = {name: bare(state) for name, state in states(DISTRIBUTED).items()}
    expected = {name: bare(state) for name, state in states().items()}
    expected["Check export status"]["Next"] = "Check batches"
    choice, batches = found.pop("Check batches", {}), found.pop("Transfer batches", {})
    for name in sorted(set(found) | set(expected)):
        if found.get(name) != expected.get(name):
            yield f"{name} is {found.get(name)}, not {expected.get(name)}"
    # An empty list is no input of a Map.
    if choice != {
        "Type": "Choice",
        "Choices": [{"Variable": "$.result.outputs", "NumericEquals": 0, "Next": "Transfer to S3"}],
        "Default": "Transfer batches",
    }:
        yield f"the choice before the Map is {choice}"
    processor = batches.pop("ItemProcessor", {})
    concurrency = batches.pop("MaxConcurrency", None)
    if not isinstance(concurrency, int) or concurrency < 1:
        yield f"MaxConcurrency is {concurrency}: without a limit all workers ask the source at once"
    # Each line of the batches is one whole input, and no answer is kept. Anything else, an ItemBatcher, an ItemSelector
    # or a ResultWriter among them, would change either.
    label = batches.pop("Label", "")
    if not 0 < len(label) <= 40:
        yield f"the Map's label {label!r} has not 1 to 40 characters"
    retry = {
        "ErrorEquals": ["States.ItemReaderFailed"],
        "IntervalSeconds": 60,
        "MaxAttempts": 5,
        "MaxDelaySeconds": LONGEST_DELAY,
    }
    if batches != {
        "Type": "Map",
        "ToleratedFailurePercentage": 0,
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSONL"},
            "Parameters": {"Bucket.$": "$.batches.bucket", "Key.$": "$.batches.key"},
        },
        "Retry": [retry],
        "ResultPath": None,
        "Next": "Transfer to S3",
    }:
        yield f"the Map is {batches}"
    if processor.get("ProcessorConfig") != {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}:
        yield f"the Map's processor is {processor.get('ProcessorConfig')}"
    workers = processor.get("States", {})
    if list(workers) != [processor.get("StartAt")]:
        yield f"a worker has the states {list(workers)}"
    transfer = {name: value for name, value in expected["Transfer to S3"].items() if name != "Next"} | {"End": True}
    # Workers that failed together do not come again together.
    transfer["Retry"] = [*transfer["Retry"][:-1], transfer["Retry"][-1] | {"JitterStrategy": "FULL"}]
    for name, worker in workers.items():
        if bare(worker) != transfer:
            yield f"{name} is {bare(worker)}, not {transfer}"


def check_partitions():
    """What is deployed is right in each partition of AWS: ARNs are of the stack's own, and the console is there."""
    consoles = template()["Mappings"]["Partitions"]
    if set(consoles) != {"aws", "aws-cn", "aws-us-gov"}:
        yield f"the partitions are {sorted(consoles)}"
    for path in (ROOT / "template.yaml", ASL, DISTRIBUTED):
        text = path.read_text()
        # What a person reads may give an example.
        lines = [line for line in text.splitlines() if not line.strip().startswith(("#", "Description:", '"Comment"'))]
        for line in lines:
            if re.search(r"arn:aws[\w-]*:", line):
                yield f"{path.name}: of one partition alone: {line.strip()}"
            if re.search(r"\bconsole\.\w", line) and not line.strip().startswith(tuple(f"{name}:" for name in consoles)):
                yield f"{path.name}: the console of one partition alone: {line.strip()}"
    for partition in consoles:
        reader = states(DISTRIBUTED, {"AWS::Partition": partition})["Transfer batches"]["ItemReader"]["Resource"]
        if reader != f"arn:{partition}:states:::s3:getObject":
            yield f"{partition}: the Map reads its batches by {reader}"
    url, own = template()["Outputs"]["DashboardUrl"]["Value"]["Fn::Sub"]
    if not url.startswith("https://${Console}/") or own != {
        "Console": {"Fn::FindInMap": ["Partitions", {"Ref": "AWS::Partition"}, "Console"]}
    }:
        yield f"the dashboard is at {url}, {own}"


def check_execution_timeout():
    for asl in (ASL, DISTRIBUTED):
        seconds = json.loads(definition(asl=asl)).get("TimeoutSeconds")
        if not isinstance(seconds, int):
            yield f"{asl.name}: an execution that hangs has no end: TimeoutSeconds is {seconds}"


def check_growing_waits():
    """In every Retry, a Map's included. What grows is bounded, and States.ALL, after which nothing is looked at, is alone
    and the last."""
    longest_first = template()["Parameters"]["RetrySeconds"]["MaxValue"]
    if longest_first >= LONGEST_DELAY:
        yield f"RetrySeconds may be {longest_first}, which Step Functions refuses beside MaxDelaySeconds {LONGEST_DELAY}"
    for asl in (ASL, DISTRIBUTED):
        for name, retriers in _retries(json.loads(definition(asl=asl))["States"]):
            for place, retrier in enumerate(retriers):
                grows = retrier["MaxAttempts"] > 0 and retrier.get("BackoffRate", 2) > 1
                if grows and retrier.get("MaxDelaySeconds") != LONGEST_DELAY:
                    yield f"{asl.name}: {name}: the waits after {retrier['ErrorEquals']} grow without a bound"
                if "States.ALL" in retrier["ErrorEquals"]:
                    if retrier["ErrorEquals"] != ["States.ALL"] or place != len(retriers) - 1:
                        yield f"{asl.name}: {name}: States.ALL is not alone and the last"


def _retries(of):
    for name, state in of.items():
        yield name, state.get("Retry", [])
        yield from _retries(state.get("ItemProcessor", {}).get("States", {}))


def check_retries():
    known = errors()
    polls = {
        "FHIR export": None,
        "Check export status": (900, 24),
        "Transfer to S3": (1, WITHOUT_END),
        "Pathling import": (30, WITHOUT_END),
        "Check import status": (300, 12),
    }
    for name, poll in polls.items():
        retriers = states()[name]["Retry"]
        names = [retrier["ErrorEquals"] for retrier in retriers]
        for error in sum(names, []):
            if error not in known and error != "States.ALL":
                yield f"{name}: {error} is no error of this program"
        expected = []
        if poll:
            expected.append(
                {"ErrorEquals": ["JobInProgressError"], "IntervalSeconds": poll[0], "MaxAttempts": poll[1], "BackoffRate": 1}
            )
        expected.append({"ErrorEquals": [error for error, retried in known.items() if not retried], "MaxAttempts": 0})
        expected.append(
            {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 60, "MaxAttempts": 5, "MaxDelaySeconds": LONGEST_DELAY}
        )
        if retriers != expected:
            yield f"{name}: retries are {retriers}, not {expected}"
        # A process that was killed, and a call whose time ran out: whichever retrier takes them must try again.
        for error in ("Runtime.ExitError", "Sandbox.Timedout"):
            takes = [retrier for retrier in retriers if {error, "States.ALL"} & set(retrier["ErrorEquals"])]
            if not takes or takes[0]["MaxAttempts"] < 1:
                yield f"{name}: {error} is not retried"


def check_language():
    """The npm package asl-validator, on the definitions as they are deployed."""
    validator = ROOT / "tools/node_modules/.bin/asl-validator"
    for asl in (ASL, DISTRIBUTED):
        text = definition(asl=asl)
        done = subprocess.run([validator, "--json-definition", text], capture_output=True, text=True)
        if done.returncode:
            yield f"{asl.name}: {done.stdout}{done.stderr}"
