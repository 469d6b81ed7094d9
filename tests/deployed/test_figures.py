"""What the functions cost, for whoever reads the log; held to here is only what no debug build should miss."""

import pytest
import workflow
from checks import check_the_target
from stack import PROFILE
from starts import start


@pytest.mark.parametrize("step", workflow.STEPS)
def test_a_function_is_small_starts_at_once_and_rests_in_little_memory(standard_site, say, step):
    stack = standard_site.stack
    described = stack.aws.lambdas.get_function_configuration(FunctionName=stack.functions[step])
    size, variables = described["CodeSize"], described["Environment"]["Variables"]
    program = standard_site.cloud.built / workflow.STEPS[step] / "bootstrap"
    starts = [start(program, variables) for _ in range(5)]
    seconds, memory = min(seconds for seconds, _ in starts), max(memory for _, memory in starts)
    profile = PROFILE or "debug"
    figures = f"zip {size / 2**20:.1f} MiB, {seconds * 1000:.0f} ms to the first poll, {memory / 2**20:.0f} MiB at rest"
    say(f"{step} ({profile}): {figures}")
    assert seconds < 1
    assert memory < 64 * 2**20


def test_how_long_each_step_takes(standard, say):
    sandbox = standard.start()
    execution = standard.run()
    assert execution.status == "SUCCEEDED", execution
    steps = [f"{state} {seconds * 1000:.0f}" for state, seconds in execution.seconds.items()]
    say(f"milliseconds from cold functions: {', '.join(steps)}")
    check_the_target(sandbox)
