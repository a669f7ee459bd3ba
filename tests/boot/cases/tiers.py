"""The engine's ways to execute: each alone, and how it chooses."""

import re

from context import HERE, Skipped, finish, require
from kernel import facts_boot
from cases.direct import require_direct


def test_interpreter(context):
    """Linux and its facts without the translator."""
    if context.options.qemu or context.options.accel != "engine":
        raise Skipped("there is no interpreter to choose")
    facts_boot(context, cpus=1, memory="256M", mib=256, extra=["--engine", "interp"])


def test_lockstep(context):
    """The interpreter beside the translator, block by block, until init: no difference."""
    if context.options.qemu or context.options.accel != "engine":
        raise Skipped("there is no translator to compare with")
    with context.start(memory="256M", append="quiet test.end=poweroff", init=HERE / "lockstep-init",
                       extra=["--engine", "lockstep"]) as vmm:
        context.vmm = vmm
        finish(vmm)
        said = re.findall(r"^lockstep: .*", vmm.text(), re.MULTILINE)
        counts = re.match(r"lockstep: (\d+) runs compared, .* (\d+) differences", said[-1] if said else "")
        require(counts and int(counts.group(1)) > 100000, f"lockstep said {said[-1:]}")
        require(counts.group(2) == "0", said[0])


def test_direct(context):
    """User programs run as they are, in stubs."""
    if context.options.qemu or context.options.accel != "engine":
        raise Skipped("there is no direct execution to choose")
    facts_boot(context, cpus=1, memory="256M", mib=256, extra=["--engine", "direct", "--stats"])
    said = re.search(r"direct: stops for system calls (\d+)", context.vmm.text())
    require(said and int(said.group(1)) > 100, f"system calls of direct execution: {said and said.group(1)}")


def test_auto(context):
    """By itself kvik runs directly what lives long, and says what programs cost."""
    require_direct(context)
    facts_boot(context, cpus=1, memory="256M", mib=256, extra=["--stats"])
    for what in (r"direct: entries", r"direct: stays in ring 3 that were translated.*", r"program \S+: starts"):
        said = re.findall(what + r" (\d+)", context.vmm.text())
        require(any(int(number) > 0 for number in said), f"--stats says of `{what}`: {said}")


def test_small_code_cache(context):
    """Translated code is evicted and linked all the time."""
    if context.options.qemu or context.options.accel != "engine":
        raise Skipped("there is no code cache")
    facts_boot(context, cpus=1, memory="256M", mib=256, extra=["--code-cache", "1M"])


QUICK = [test_interpreter, test_lockstep, test_direct, test_auto, test_small_code_cache]
LONG = []
