"""Direct execution: programs that attack their stubs, that do what is strange, and stubs that are killed."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest.mock
from pathlib import Path

from context import HERE, Skipped, TIMEOUT_S, finish, require, sections
from kernel import check_dmesg
from vmm import Vmm


def require_direct(context) -> None:
    """Skips where there are no stubs."""
    if context.options.qemu or context.options.accel != "engine":
        raise Skipped("there is no direct execution to choose")
    engine = json.loads(subprocess.run([context.options.kvik, "doctor", "--json"], stdout=subprocess.PIPE,
                                       check=True).stdout)["engine"]
    if not engine["direct"]:
        raise Skipped(f"this host has no direct execution: {engine['direct_reason']}")


def compile_direct(directory, name: str, *options: str) -> Path:
    """A program of tests/boot/direct, static, for the guest and the host."""
    program = Path(directory) / name
    compiled = subprocess.run(["cc", "-static", "-pthread", "-O1", *options, "-o", program,
                               HERE / "direct" / f"{name}.c"], check=False)
    require(compiled.returncode == 0, f"cannot compile tests/boot/direct/{name}.c")
    return program


def start_direct(context, programs, arguments="", extra=(), memory="512M", engine="direct", cpus=2) -> Vmm:
    """A guest that runs these, directly, and ends."""
    return context.start(memory=memory, cpus=cpus, append=f"quiet test.arguments={arguments}",
                         init=HERE / "direct-init", added=[f"{program}=direct/{program.name}" for program in programs],
                         extra=["--engine", engine, "--stats", *extra])


def direct_counter(context, name: str) -> int:
    """Of --stats, over all CPUs."""
    return sum(int(number) for number in re.findall(rf"direct: {name} (\d+)", context.vmm.text()))


def finish_direct(vmm) -> dict:
    """What the programs said, by their names; `status` is the last line of each."""
    finish(vmm)
    facts = sections(vmm.text())
    check_dmesg(facts, False)
    return facts


def test_direct_attacks(context):
    """A program that attacks the stub that it runs in: it alone suffers."""
    require_direct(context)
    # It knows where its stub is.
    with tempfile.TemporaryDirectory() as directory, \
         unittest.mock.patch.dict(os.environ, KVIK_HOST_WITHOUT="stub-places"), \
         start_direct(context, [compile_direct(directory, "attack")]) as vmm:
        context.vmm = vmm
        # Of the same user, and none of the monitor's.
        bystander = subprocess.Popen(["sleep", "1000"])
        try:
            said = finish_direct(vmm)["attack"]
            require(bystander.poll() is None, "a process of the host's has ended")
        finally:
            bystander.kill()
            bystander.wait()
        counts = re.match(r"attacks: (\d+) tried, (\d+) in a stub", said[-3])
        require(said[-1] == "status 0" and counts and counts.group(1) == counts.group(2), f"it said {said[-3:]}")
        require(direct_counter(context, "stubs that ended") > 10, "no stub has ended")


# What programs say where a hypervisor below the host leaves something out, the processor's number in TSC_AUX or breakpoints, and
# what they say elsewhere.
OF_A_WHOLE_HOST = {
    "rdtscp: wrong": "rdtscp: right",
    "watched: 0 hits, DR6 0, values 0": "watched: 6 hits, DR6 111112, values 714212828",
}

DIRECT_PROGRAMS = ["clock", "debugger", "space", "swap", "threads", "usage", "vector"]


def test_direct_programs(context):
    """What debuggers, clocks, strange address spaces, swapping, threads and signals do is what they do natively."""
    require_direct(context)
    with tempfile.TemporaryDirectory() as directory:
        programs = [compile_direct(directory, name) for name in DIRECT_PROGRAMS]
        native = {program.name: subprocess.run([str(program)], stdout=subprocess.PIPE, check=False, timeout=TIMEOUT_S,
                                               text=True) for program in programs}
        disk = Path(directory) / "disk"
        with open(disk, "wb") as file:
            file.truncate(512 << 20)
        with start_direct(context, programs, memory="256M", extra=["--disk", f"{disk},format=raw,bus=nvme"]) as vmm:
            context.vmm = vmm
            facts = finish_direct(vmm)
        for name, result in native.items():
            wanted = [OF_A_WHOLE_HOST.get(line, line) for line in result.stdout.splitlines()]
            wanted.append(f"status {result.returncode}")
            require(facts.get(name) == wanted, f"{name} said {facts.get(name)}, natively {wanted}")
        swapped = {line.split()[0]: int(line.split()[1]) for line in facts["swapped"]}
        require(swapped["pswpin"] > 1000 and swapped["pswpout"] > 1000, f"the guest swapped {swapped}")


MANY_CPUS = 20  # which share the stubs, 8 of which each would have


def test_direct_many(context):
    """More programs on more CPUs than there are stubs: those used longest ago are given back, and all goes on directly."""
    require_direct(context)
    with tempfile.TemporaryDirectory() as directory, \
         start_direct(context, [compile_direct(directory, "many")], "10", cpus=MANY_CPUS) as vmm:
        context.vmm = vmm
        said = finish_direct(vmm)["many"]
        require(said[-1] == "status 0", f"it said {said}")
        require(direct_counter(context, "stubs given back for others") > 0, "no stub was given back")
        require("no stub can be made at present" not in vmm.text(), "a CPU has no stubs")
        entries = [int(number) for number in re.findall(r"direct: entries (\d+)", vmm.text())]
        require(len(entries) == MANY_CPUS and min(entries) > 0, f"there were {entries} entries, a CPU each")


HIDDEN = "since the host can execute what CPUID hides"


def test_direct_hidden(context):
    """What the guest's CPUID hides is undefined; with the host's CPU programs run directly."""
    require_direct(context)
    with tempfile.TemporaryDirectory() as directory:
        program = compile_direct(directory, "hidden")
        for engine, cpu in (("direct", "host,-bmi2,-aes,-sha-ni,-adx,-rdrand"), ("auto", "host,-bmi2,-aes,-sha-ni,-adx,-rdrand"),
                            ("auto", "host")):
            with start_direct(context, [program], engine=engine, cpus=1, extra=["--cpu", cpu]) as vmm:
                context.vmm = vmm
                said = finish_direct(vmm)["hidden"]
            require(said[-1] == "status 0", f"with --engine {engine} --cpu {cpu} it said {said}")
            entries, hidden = direct_counter(context, "entries"), HIDDEN in vmm.text()
            require((entries > 0) == (cpu == "host"), f"with --engine {engine} --cpu {cpu} there were {entries} entries")
            require(hidden == (cpu != "host"), f"with --engine {engine} --cpu {cpu} CPUID was {'' if hidden else 'not '}the reason")
            # POPCNT is hidden from neither.
            require(said[-2] == "executed: 2" or cpu == "host", f"it said {said}")


def compile_narrow(directory) -> Path:
    """The 32-bit program; skips where there is no compiler for it."""
    empty = Path(directory) / "empty.c"
    empty.write_text("int main(void) { return 0; }")
    if subprocess.run(["cc", "-m32", "-static", "-o", empty.with_suffix(""), empty], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        raise Skipped("no compiler for 32-bit programs (gcc-multilib)")
    return compile_direct(directory, "narrow", "-m32", "-msse2")


def test_direct_narrow(context):
    """A 32-bit program does what it does natively, in stubs."""
    require_direct(context)
    with tempfile.TemporaryDirectory() as directory:
        program = compile_narrow(directory)
        try:
            native = subprocess.run([str(program)], stdout=subprocess.PIPE, check=False, timeout=TIMEOUT_S, text=True)
        except OSError as error:
            raise Skipped(f"this host runs no 32-bit programs: {error}") from error
        with start_direct(context, [program]) as vmm:
            context.vmm = vmm
            said = finish_direct(vmm)["narrow"]
        wanted = native.stdout.splitlines() + [f"status {native.returncode}"]
        require(said == wanted, f"it said {said}, natively {wanted}")
        require(direct_counter(context, "entries into 32-bit code") > 3000, "it was not in stubs")


def test_direct_lockstep(context):
    """Random code and programs do in stubs what the interpreter does from the same state, and what they do natively."""
    require_direct(context)
    with tempfile.TemporaryDirectory() as directory:
        programs = [compile_direct(directory, name) for name in ("random", "vector")]
        native = {program.name: subprocess.run([str(program)], stdout=subprocess.PIPE, check=False, timeout=TIMEOUT_S,
                                               text=True) for program in programs}
        with start_direct(context, programs, engine="direct-lockstep", cpus=1) as vmm:
            context.vmm = vmm
            facts = finish_direct(vmm)
        for name, result in native.items():
            wanted = result.stdout.splitlines() + [f"status {result.returncode}"]
            require(facts.get(name) == wanted, f"{name} said {facts.get(name)}, natively {wanted}")
        said = re.findall(r"^direct lockstep: .*", vmm.text(), re.MULTILINE)
        counts = re.match(r"direct lockstep: (\d+) stays compared, .* (\d+) differences", said[-1] if said else "")
        require(counts and int(counts.group(1)) > 2000, f"lockstep said {said[-1:]}")
        require(counts.group(2) == "0", f"there are differences: {said}")


def processes() -> dict:
    """{process: (its parent, its state)} of all that there are."""
    parents = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if entry.name.isdigit():
            parents[int(entry.name)] = (int(words[1]), words[0])
    return parents


def stubs_of(monitor: int) -> list:
    """(process, state) of a monitor's stubs: its spawner's children."""
    parents = processes()
    return [(process, state) for process, (parent, state) in parents.items()
            if parents.get(parent, (0, ""))[0] == monitor and state != "Z"]


# What a process has of its own, besides the guest's pages.
SPAWNER_MOST_KIB, STUB_MOST_KIB = 2048, 512


def own_kib(process: int) -> int:
    """0 for one that has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        found = None
    return int(found.group(1)) if found else 0


def check_memory(monitor: int) -> None:
    """The spawner is small, and so is each of its stubs."""
    parents = processes()
    stubs = [process for process, _ in stubs_of(monitor)]
    for spawner in {parents[process][0] for process in stubs if process in parents}:
        require(0 < own_kib(spawner) <= SPAWNER_MOST_KIB, f"the spawner has {own_kib(spawner)} KiB of its own")
    for stub in stubs:
        require(own_kib(stub) <= STUB_MOST_KIB, f"a stub has {own_kib(stub)} KiB of its own")


def test_direct_killed(context):
    """Somebody kills stubs: programs end or go on, none comes to a wrong result. Then the monitor: no stub is left."""
    require_direct(context)
    with tempfile.TemporaryDirectory() as directory, \
         start_direct(context, [compile_direct(directory, "killed")], str(int(TIMEOUT_S))) as vmm:
        context.vmm = vmm
        vmm.expect("^computing")
        killed = {"R": 0, "S": 0}
        # On a busy host few are seen running, and what waits and is killed may be made again unseen.
        least, most = time.monotonic() + 5, time.monotonic() + TIMEOUT_S / 2
        while time.monotonic() < least or (min(killed.values()) < 8 and time.monotonic() < most):
            for process, state in stubs_of(vmm.process.pid):
                # One that runs and one that waits, in turn.
                if state in killed and killed[state] <= min(killed.values()):
                    try:
                        os.kill(process, signal.SIGKILL)
                    except ProcessLookupError:
                        continue  # it ended by itself
                    killed[state] += 1
                    break
            vmm.read(0.2)
        vmm.send("\n")
        said = finish_direct(vmm)["killed"]
        counts = re.match(r"computed: (\d+) right, (\d+) wrong, (\d+) killed", said[-2])
        require(counts and int(counts.group(1)) > 0 and counts.group(2) == "0" and int(counts.group(3)) > 0,
                f"it said {said}, with {killed} killed")
        require(direct_counter(context, "stubs that ended") >= 2, "no stub has ended")
    with tempfile.TemporaryDirectory() as directory, \
         start_direct(context, [compile_direct(directory, "killed")], "100") as vmm:
        context.vmm = vmm
        vmm.expect("^computing")
        vmm.read(1)
        stubs = [process for process, _ in stubs_of(vmm.process.pid)]
        require(bool(stubs), "there are no stubs")
        check_memory(vmm.process.pid)
        vmm.signal(signal.SIGKILL)
        vmm.wait()
        until = time.monotonic() + 10
        while any(Path(f"/proc/{process}/exe").exists() for process in stubs):
            require(time.monotonic() < until, f"of the stubs {stubs} some outlive their monitor")
            time.sleep(0.1)


QUICK = [test_direct_attacks, test_direct_programs, test_direct_hidden, test_direct_many, test_direct_narrow, test_direct_lockstep, test_direct_killed]
LONG = []
