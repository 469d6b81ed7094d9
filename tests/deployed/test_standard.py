"""The stack as it is deployed by default."""

import json
import re
import time

import pytest
from checks import check_a_whole_run, staged

from local_aws import PATIENCE
from states import IN_ORDER, UNMENDABLE

LAYOUT = "|".join(
    [
        r"runs/[^/]+/(_run|_manifest|_parts/\d+)\.json",
        r"runs/[^/]+/_log[^/]*\.ndjson",
        r"runs/[^/]+/[A-Z][A-Za-z]+/\d{5}-[0-9a-f]+\.ndjson",
        r"sync/[^/]+\.json",
    ]
)


def test_everything_arrives_each_poll_is_repeated_and_what_is_staged_lies_where_it_should(standard):
    sandbox = standard.start("--polls", "6")
    check_a_whole_run(standard)
    (run,) = {key.split("/")[1] for key in standard.stack.keys() if key.startswith("runs/")}
    source = sandbox.counts()[0]
    for key in standard.stack.keys():
        assert re.fullmatch(LAYOUT, key), f"{key} has no place in the layout"
    # What is staged is what the source has, byte by byte.
    for kind in source:
        assert staged(standard.stack, run, kind) == sorted(sandbox.source(kind))
    manifest = json.loads(standard.stack.read(f"runs/{run}/_manifest.json"))
    assert {output["type"] for output in manifest["output"]} == set(source)


@pytest.mark.parametrize(("fault", "state", "error"), UNMENDABLE)
def test_what_no_retry_can_mend_is_not_retried(standard, fault, state, error):
    sandbox = standard.start("--fault", fault)
    execution = standard.run()
    assert (execution.status, execution.error) == ("FAILED", error), execution
    assert execution.states[-1] == state
    assert execution.errors[state] == [error]
    assert sandbox.counts()[1] == {}


def test_what_a_retry_may_mend_is_retried(standard):
    standard.start("--fault", "answers=kick-off:502*2")
    execution = standard.run()
    assert execution.status == "SUCCEEDED", execution
    assert execution.errors["FHIR export"] == ["SourceUnavailableError"] * 2


def test_the_schedule_starts_an_execution_by_itself(scheduled):
    aws, machine = scheduled.stack.aws, scheduled.stack.machine
    deadline = time.monotonic() + PATIENCE
    while not (found := aws.workflows.list_executions(stateMachineArn=machine)["executions"]):
        assert time.monotonic() < deadline, "the rule starts nothing"
        time.sleep(0.5)
    execution = aws.follow(found[-1]["executionArn"])
    assert execution.status == "SUCCEEDED", execution
    assert execution.states == IN_ORDER
    assert json.loads(execution.inputs["FHIR export"])["detail-type"] == "Scheduled Event"
    source, target = scheduled.sandbox.counts()
    assert source == target


def test_a_stack_without_a_schedule_has_a_rule_that_is_disabled(standard_site, scheduled):
    events = standard_site.cloud.aws.client("events")
    states = {site.stack.name: rules(events, site.stack) for site in (standard_site, scheduled)}
    assert states == {"standard": ["DISABLED"], "scheduled": ["ENABLED"]}


def rules(events, stack):
    names = events.list_rule_names_by_target(TargetArn=stack.machine)["RuleNames"]
    return [events.describe_rule(Name=name)["State"] for name in names]


def test_alarms_and_dashboard_watch_the_state_machine_that_is_there(standard_site, distributed_site):
    watch = standard_site.cloud.aws.client("cloudwatch")
    for site in (standard_site, distributed_site):
        machine, names = site.stack.machine, site.stack.physical
        for logical in ("ExecutionFailedAlarm", "ExecutionTimedOutAlarm"):
            (alarm,) = watch.describe_alarms(AlarmNames=[names[logical]])["MetricAlarms"]
            assert alarm["Dimensions"] == [{"Name": "StateMachineArn", "Value": machine}]
            assert alarm["AlarmActions"] == [names["AlarmTopic"]]
        body = json.loads(watch.get_dashboard(DashboardName=names["Dashboard"])["DashboardBody"])
        assert {arn for arn in told(body) if ":stateMachine:" in arn} == {machine}


def test_alarms_that_need_a_schedule_are_there_with_one_and_the_dashboard_shows_what_there_is(standard_site, scheduled):
    watch = standard_site.cloud.aws.client("cloudwatch")
    for site, further in ((standard_site, set()), (scheduled, {"NoSuccessAlarm", "FreshnessAlarm"})):
        names = site.stack.physical
        there = {logical for logical in names if logical.endswith("Alarm")}
        assert {logical for logical in there if logical in ("NoSuccessAlarm", "FreshnessAlarm")} == further
        body = json.loads(watch.get_dashboard(DashboardName=names["Dashboard"])["DashboardBody"])
        (shown,) = [widget["properties"]["alarms"] for widget in body["widgets"] if widget["type"] == "alarm"]
        described = watch.describe_alarms(AlarmNames=[names[logical] for logical in there])["MetricAlarms"]
        assert sorted(shown) == sorted(alarm["AlarmArn"] for alarm in described)
    (fresh,) = watch.describe_alarms(AlarmNames=[scheduled.stack.physical["FreshnessAlarm"]])["MetricAlarms"]
    # Three days, in the metric's seconds, and in periods of an hour.
    assert (fresh["Threshold"], fresh["EvaluationPeriods"], fresh["Period"]) == (72 * 3600, 72, 3600)


def test_a_run_that_is_held_alarms(standard_site):
    watch, name = standard_site.cloud.aws.client("cloudwatch"), standard_site.stack.physical["RunHeldAlarm"]

    def state():
        return watch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]

    assert state() != "ALARM"
    # As CloudWatch takes it from the line that the function writes, which nothing here reads.
    held = {"MetricName": "RunsHeld", "Value": 1, "Unit": "Count"}
    watch.put_metric_data(Namespace=f"pathling-import/{standard_site.stack.name}", MetricData=[held])
    deadline = time.monotonic() + PATIENCE
    while state() != "ALARM":
        assert time.monotonic() < deadline, "nobody hears of it"
        time.sleep(0.2)


def told(of):
    """All texts in a document."""
    if isinstance(of, str):
        yield of
    for one in of.values() if isinstance(of, dict) else of if isinstance(of, list) else ():
        yield from told(one)
