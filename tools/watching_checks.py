"""What the general checkers do not see of the logs, the alarms and the dashboard in template.yaml, and a local AWS passes in
silence. tools/check.py calls these.
"""

import json
import re

from template_checks import listed
from workflow import ROOT, STEPS, errors, largest, template

NAMESPACE = "pathling-import/${AWS::StackName}"


def metrics():
    """The metrics that the functions write, in the stack's namespace, and the dimension of each, as docs/telemetry.md has them."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (?:`(\w+)`)? ?\|", (ROOT / "docs/telemetry.md").read_text(), re.MULTILINE)
    return {name: [dimension] if dimension else [] for name, dimension in rows}


def of_type(kind):
    return {name: what for name, what in template()["Resources"].items() if what["Type"] == kind}


def alarms():
    return {name: what["Properties"] for name, what in of_type("AWS::CloudWatch::Alarm").items()}


def watched(properties):
    """What an alarm looks at: namespace, metric and the values of its dimensions."""
    values = [one["Value"] for one in properties["Dimensions"]]
    namespace = properties["Namespace"]
    return (namespace if isinstance(namespace, str) else namespace["Fn::Sub"], properties["MetricName"], values)


# Where no data is as bad as bad data: nothing arrived, and nothing succeeded.
MISSED = {"ExecutionsSucceeded", "FreshnessSeconds"}


def check_logs():
    described = template()
    shared = described["Globals"]["Function"]["LoggingConfig"]
    if shared.get("LogFormat") != "JSON":
        yield "the functions do not log in JSON"
    levels = described["Parameters"][shared["ApplicationLogLevel"]["Ref"]]["AllowedValues"]
    if not set(levels) <= {"INFO", "DEBUG", "TRACE"}:
        yield f"a level of {levels} drops the lines that say how each call ended"
    groups = of_type("AWS::Logs::LogGroup")
    for name, what in groups.items():
        if "RetentionInDays" not in what["Properties"]:
            yield f"{name} keeps everything for ever"
    used = [described["Resources"][name]["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] for name in STEPS.values()]
    for name, what in of_type("AWS::Serverless::StateMachine").items():
        logging = what["Properties"]["Logging"]
        if (logging["Level"], logging["IncludeExecutionData"]) != ("ERROR", False):
            yield f"{name} logs {logging}: what states pass on may be signed URLs"
        if "Tracing" not in what["Properties"]:
            yield f"{name} cannot be traced"
        group = logging["Destinations"][0]["CloudWatchLogsLogGroup"]["LogGroupArn"]["Fn::GetAtt"][0]
        used.append(group)
        named = groups[group]["Properties"]["LogGroupName"]
        if not named["Fn::Sub"].startswith("/aws/vendedlogs/states/"):
            yield f"{group} is called {named}"
    if set(used) != set(groups):
        yield f"log groups that nobody uses, or that are missing: {set(used) ^ set(groups)}"


def check_schedule():
    resources = template()["Resources"]
    for name, rule in of_type("AWS::Events::Rule").items():
        for target in rule["Properties"]["Targets"]:
            queue = target.get("DeadLetterConfig", {}).get("Arn", {}).get("Fn::GetAtt", [None])[0]
            if resources.get(queue, {}).get("Type") != "AWS::SQS::Queue":
                yield f"{name}: a start that fails is lost"
                continue
            allowed = [
                statement
                for policy in of_type("AWS::SQS::QueuePolicy").values()
                for statement in policy["Properties"]["PolicyDocument"]["Statement"]
                if statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
            ]
            source = {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [name, "Arn"]}}}
            if [statement.get("Condition") for statement in allowed] != [source]:
                yield f"{queue} is not open to {name} alone"
            if not any(watched(alarm)[2] == [{"Fn::GetAtt": [queue, "QueueName"]}] for alarm in alarms().values()):
                yield f"nothing tells that there is something in {queue}"


def check_alarms():
    found = {name: watched(alarm) for name, alarm in alarms().items()}
    given = template()["Globals"]["Function"]["Environment"]["Variables"]["METRICS_NAMESPACE"]
    if given != {"Fn::Sub": NAMESPACE}:
        yield f"the functions write metrics for {given}, and the alarms look at {NAMESPACE}"
    wanted = {("AWS/States", metric) for metric in ("ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsSucceeded")}
    wanted |= {(NAMESPACE, metric) for metric in ("RunsHeld", "FreshnessSeconds")}
    yield from (f"no alarm on {one}" for one in sorted(wanted - {what[:2] for what in found.values()}))
    throttled = [what[2][0]["Ref"] for what in found.values() if what[:2] == ("AWS/Lambda", "Throttles")]
    if sorted(throttled) != sorted(STEPS.values()):
        yield f"refused calls alarm for {throttled}"
    named = {what[2][0]: name for name, what in found.items() if what[:2] == (NAMESPACE, "Errors")}
    if set(named) != set(errors()) - {"JobInProgressError"}:
        yield f"errors without an alarm, or alarms without an error: {set(named) ^ set(errors())}"
    for error, name in named.items():
        if (alarms()[name]["Threshold"] == 1) == errors().get(error):
            yield f"{name}: what is not tried again alarms at once, and what is, where it goes on"
    for name, (namespace, metric, _) in found.items():
        alarm = alarms()[name]
        dimensions = [one["Name"] for one in alarm["Dimensions"]]
        if (namespace, metric) == ("AWS/Lambda", "Errors"):
            yield f"{name}: Lambda's own Errors count steps that ask to be called again"
        if namespace == NAMESPACE and metrics().get(metric) != dimensions:
            yield f"{name}: there is no metric {metric} by {dimensions}"
        if alarm["AlarmActions"] != [{"Ref": "AlarmTopic"}]:
            yield f"{name}: nobody hears of it"
        if alarm["TreatMissingData"] != ("breaching" if metric in MISSED else "notBreaching"):
            yield f"{name}: missing data is {alarm['TreatMissingData']}"
        seconds = largest(alarm["Period"]) * largest(alarm["EvaluationPeriods"])
        if seconds > (7 * 86400 if alarm["Period"] >= 3600 else 86400):
            yield f"{name}: CloudWatch does not look back {seconds} seconds"
        # Who is told that nothing came is told when something does.
        if (metric in MISSED) != (alarm.get("OKActions") == [{"Ref": "AlarmTopic"}]):
            yield f"{name}: its end is told to {alarm.get('OKActions')}"


def check_freshness():
    """The alarm's threshold is its own number of hours, whichever may be chosen; and it is there where runs have to be fresh."""
    described = template()
    seconds = {int(hours): row["Seconds"] for hours, row in described["Mappings"]["Freshness"].items()}
    allowed = described["Parameters"]["AlarmFreshnessHours"]["AllowedValues"]
    if seconds != {hours: hours * 3600 for hours in allowed}:
        yield f"hours in seconds are {seconds}, for {allowed}"
    alarm = alarms()["FreshnessAlarm"]
    hours = {"Ref": "AlarmFreshnessHours"}
    if (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["Period"]) != (
        {"Fn::FindInMap": ["Freshness", hours, "Seconds"]}, hours, 3600,
    ):  # fmt: skip
        yield f"FreshnessAlarm looks at {alarm['EvaluationPeriods']} periods of {alarm['Period']} s for {alarm['Threshold']}"
    condition = described["Conditions"][described["Resources"]["FreshnessAlarm"]["Condition"]]
    for part in ({"Condition": "HasSchedule"}, {"Fn::Equals": [{"Ref": "Since"}, "auto"]}):
        if part not in condition["Fn::And"]:
            yield f"FreshnessAlarm is there under {condition}"


def check_dashboard():
    resources = template()["Resources"]
    ((name, dashboard),) = of_type("AWS::CloudWatch::Dashboard").items()
    text, own = dashboard["Properties"]["DashboardBody"]["Fn::Sub"]
    # What is there under a condition alone; without it, the rest must be a body too.
    bare = text
    for variable, value in own.items():
        condition, there, missing = value["Fn::If"]
        if missing != "":
            continue
        text, bare = text.replace("${" + variable + "}", there["Fn::Sub"]), bare.replace("${" + variable + "}", "")
        for alarm in re.findall(r"\$\{(\w+)\.Arn\}", there["Fn::Sub"]):
            if resources.get(alarm, {}).get("Condition") != condition:
                yield f"{name}: {alarm} is shown when {condition}"
    for reference in set(re.findall(r"\$\{([\w:.]+)\}", text)) - set(own):
        if not reference.startswith("AWS::") and reference.removesuffix(".Arn") not in resources:
            yield f"{name}: there is no {reference}"
    shown, drawn = set(), set()
    for widget in json.loads(text)["widgets"]:
        title = widget["properties"]["title"]
        if widget["x"] + widget["width"] > 24:
            yield f"{name}: {title} is outside of the page"
        cells = {(x, y) for x in range(widget["x"], widget["x"] + widget["width"]) for y in range(widget["y"], widget["y"] + widget["height"])}
        if cells & drawn:
            yield f"{name}: {title} lies over another"
        drawn |= cells
        shown |= shown_by(widget)
        for metric in widget["properties"].get("metrics", []):
            namespace, what, dimensions = graphed(metric)
            if namespace.startswith("AWS/") or (namespace, metrics().get(what)) == (NAMESPACE, dimensions):
                continue
            yield f"{name}: {title}: there is no metric {what} by {dimensions} in {namespace}"
    if shown != set(alarms()):
        yield f"{name}: alarms that it does not show, or should not: {sorted(shown ^ set(alarms()))}"
    always = {alarm for alarm in alarms() if "Condition" not in resources[alarm]}
    without = set().union(*map(shown_by, json.loads(bare)["widgets"]))
    if without != always:
        yield f"{name}: alarms that it does not show, or should not, where some are not there: {sorted(without ^ always)}"


def shown_by(widget):
    """The alarms of a widget."""
    return {alarm.removeprefix("${").removesuffix(".Arn}") for alarm in widget["properties"].get("alarms", [])}


def graphed(metric):
    """What is drawn: namespace, metric and dimensions. A search names the first and the last in braces."""
    if isinstance(metric[0], dict):
        search = re.fullmatch(r"""SEARCH\('\{"([^"]+)",(\w+)\} MetricName="(\w+)"', '\w+', \d+\)""", metric[0]["expression"])
        return (search[1], search[3], [search[2]]) if search else (metric[0]["expression"], None, None)
    names = [part for part in metric if isinstance(part, str)]
    return names[0], names[1], names[2::2]


def check_outputs():
    given = set(template()["Outputs"])
    wanted = {"StateMachineArn", "StagingBucketName", "DashboardUrl", "AlarmTopicArn"} | {f"{name}Arn" for name in STEPS.values()}
    yield from (f"no output {name}" for name in sorted(wanted - given))


def check_measured():
    """Memory, time and disk are written down, not left to what AWS takes without them."""
    shared = template()["Globals"]["Function"]
    for name in ("MemorySize", "Timeout", "EphemeralStorage"):
        if name not in shared:
            yield f"{name} is not said"
    for name in STEPS.values():
        properties = shared | template()["Resources"][name]["Properties"]
        if not any("Ref" in str(one) for one in listed(properties.get("ReservedConcurrentExecutions"))):
            yield f"{name}: its concurrency cannot be reserved"
