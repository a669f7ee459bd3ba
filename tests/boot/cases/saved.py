"""A machine that is saved and loaded while it works: its results and its clocks."""

import hashlib
import os
import re
import signal
import tempfile
import time

from context import HERE, Skipped, finish, require, sections
from kernel import check_dmesg
from cases.direct import require_direct


def chain_digest(start: str, length: int) -> str:
    """What saved-init's chain that begins with `start` has after so many links."""
    digest = start
    for n in range(length):
        digest = hashlib.sha256(f"{digest} {n}\n".encode()).hexdigest()
    return digest


def check_saved_clocks(text: str, shortest_s: float, longest_s: float) -> None:
    """The guest's clocks went on while it ran, all of them equally, and stood still while it was saved."""
    said = {match.group(1): [float(word) for word in match.group(2).split()]
            for match in re.finditer(r"^clocks (\w+) ([\d. ]+)$", text, re.MULTILINE)}
    logged = {match.group(2): float(match.group(1))
              for match in re.finditer(r"^\[ *([\d.]+)\] clocks (\w+)$", text, re.MULTILINE)}
    for name in "begin", "end":
        require(name in said and name in logged, f"its clocks at the {name} are not there")
    uptime_s = said["end"][0] - said["begin"][0]
    require(uptime_s >= shortest_s - 0.05 and said["end"][0] <= longest_s + 0.05,
            f"it was up for {uptime_s:.2f} s, and ran for {shortest_s:.2f} to {longest_s:.2f} s")
    date_s = said["end"][2] - said["begin"][2]
    require(shortest_s - 1.1 <= date_s <= longest_s + 1.1,
            f"date went on by {date_s:.0f} s in {uptime_s:.2f} s")
    # Each log line came between two looks at the clock; how far the two clocks may be apart follows.
    earliest, latest = (logged["begin"] - said["begin"][n] for n in (1, 0))
    drift_s = logged["end"] - said["end"][0]
    require(drift_s >= earliest - 0.05 and logged["end"] - said["end"][1] <= latest + 0.05,
            f"sched_clock and the clocksource were {latest:.3f} s apart, and are {drift_s:.3f} s")


def saved_boot(context, rounds: int, *extra: str) -> None:
    if context.options.qemu:
        raise Skipped("saving is kvik's")
    shortest_s = longest_s = 0.0
    text = ""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "machine")
        options = ["-v", "--save", path, *extra]
        for loads in range(rounds + 1):
            began = time.monotonic()
            with context.start(memory="256M", cpus=2, append="quiet", init=HERE / "saved-init",
                               extra=[*options, "--load", path] if loads else options) as vmm:
                context.vmm = vmm
                if loads == 0:
                    vmm.expect(r"^=== begin", "the begin of work")
                else:
                    vmm.expect(r"loaded the machine", "the machine to be loaded")
                went_on = time.monotonic()
                time.sleep(0.4)
                shortest_s += time.monotonic() - went_on
                if loads == rounds:
                    vmm.send("\n")
                    vmm.expect(r"^clocks end .*", "its clocks")
                    longest_s += time.monotonic() - began
                    finish(vmm)
                else:
                    vmm.signal(signal.SIGUSR1)
                    vmm.expect(r"saved the machine", "the machine to be saved")
                    longest_s += time.monotonic() - began
                text += vmm.text()
        for start in "a", "b":
            match = re.search(rf"^chain {start} (\d+) (\w+)$", text, re.MULTILINE)
            require(match is not None, f"it printed no chain {start}")
            length = int(match.group(1))
            require(length > rounds // 4, f"it made {length} links in {shortest_s:.1f} s")
            require(match.group(2) == chain_digest(start, length),
                    f"the digest of {length} links is wrong")
        facts = sections(text)
        check_dmesg(facts, False)
        check_saved_clocks(text, shortest_s, longest_s)


def test_saved(context):
    """Saved while it works and loaded again, ten times in a row: its results and its clocks are right."""
    saved_boot(context, int(os.environ.get("KVIK_BOOT_SAVES", "10")))


def test_saved_direct(context):
    """The same while its programs run directly, four times."""
    require_direct(context)
    saved_boot(context, 4, "--engine", "direct")


QUICK = [test_saved_direct, test_saved]
LONG = []
