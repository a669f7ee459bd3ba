"""Machines without an operating system for tests of kvik-system-x86_64: guests of a few bytes, answers held against the
schema, and how a file of such tests is run."""

import argparse
import json
import tempfile
import time
from pathlib import Path

from client import Failed, Machine, Qmp
from guest import multiboot


class Context:
    def __init__(self, program, scratch):
        self.program, self.scratch, self.machines = program, Path(scratch), []

    def start(self, *arguments, terminal=False):
        machine = Machine(self.program, arguments, terminal)
        self.machines.append(machine)
        return machine

    def qmp(self):
        qmp = Qmp(self.scratch / "qmp")
        qmp.ask("qmp_capabilities")
        return qmp

    def sockets(self):
        return ["-qmp", f"unix:{self.scratch}/qmp,server=on,wait=off"]

    def guest(self, code):
        """A multiboot kernel of a few bytes of 32-bit code."""
        return ["-accel", "tcg", "-nodefaults", "-nographic", "-m", "16", "-kernel",
                multiboot(self.scratch / "guest", code)]


# Counts in memory and prints a full stop on the serial line now and then; never halts.
PRINTS = bytes.fromhex("66baf803" "b02e" "ee" "b900000001" "49" "75fd" "ebf3")
HALTS = bytes.fromhex("fa" "f4" "ebfd")
# A reset by port CF9h, of an i8042 if that is not there.
RESETS = bytes.fromhex("b0fe" "e664" "ebfa")
# i6300esb in slot 5: both stages 16 clocks, free-running, never reloaded.
WATCHDOG = bytes.fromhex("66baf80cb810280080ef66bafc0cb8000000e0ef66baf80cb804280080ef66bafc0c66b8020066ef"
                         "bb000000e0b90000000066c7430c800066c7430c8600c7040b1000000083c10483f90875e5"
                         "66baf80cb868280080ef66bafc0cb006eeebfe")
# What is in BL to pvpanic's port, then halts.
PANICS = bytes.fromhex("66ba0505" "88d8" "ee" "fa" "f4" "ebfd")
# Power-off by ACPI: PM1a control, port 604h, S5.
OFF = bytes.fromhex("66ba0406" "66b80034" "66ef" "f4" "ebfd")


def matches(schema, name, value, where):
    """Whether a value is what the schema says; raises Failed with where it is not."""
    info = schema[name]
    kind = info["meta-type"]
    if kind == "builtin":
        wanted = {"string": str, "int": int, "number": (int, float), "boolean": bool, "null": type(None)}
        right = info["json-type"] == "value" or (isinstance(value, wanted[info["json-type"]]) and
                                                 (info["json-type"] != "int" or not isinstance(value, bool)))
    elif kind == "enum":
        right = value in info["values"]
    elif kind == "array":
        right = isinstance(value, list)
        for at, one in enumerate(value if right else []):
            matches(schema, info["element-type"], one, f"{where}[{at}]")
    elif kind == "object":
        right = isinstance(value, dict)
        members = {member["name"]: member for member in info["members"]}
        for member in members.values():
            if member["name"] in value:
                matches(schema, member["type"], value[member["name"]], f"{where}.{member['name']}")
            elif "default" not in member:
                raise Failed(f"{where} lacks {member['name']}")
        if name != "SchemaInfo" and (more := set(value) - set(members)):
            raise Failed(f"{where} has {more}, too")
    else:
        raise Failed(f"{where}: {kind} is not checked here")
    if not right:
        raise Failed(f"{where} is {value!r}, which is no {name}")


def check_answers(qmp, commands):
    schema = {info["name"]: info for info in qmp.ask("query-qmp-schema")}
    for command, arguments in commands:
        answer = qmp.ask_as_is(command, arguments)
        matches(schema, schema[command]["ret-type"], answer, command)
    return schema


def refuse(qmp, command, **arguments):
    """The error that a command is answered with."""
    return qmp.refusal(json.dumps({"execute": command, "arguments": arguments}))


def run_test(tests, options, name):
    with tempfile.TemporaryDirectory(prefix="kvik-qmp.") as scratch:
        context = Context(options.program, scratch)
        started = time.monotonic()
        try:
            tests[name](context)
        except Failed as failed:
            return f"FAIL qmp {name}: {failed}"
        finally:
            for machine in context.machines:
                machine.close()
        return f"PASS qmp {name} ({time.monotonic() - started:.1f} s)"


def run_tests(doc, names, boots) -> int:
    """Run the test_... among the names of a file as its arguments say; `boots` only with --boot, or by name."""
    tests = {name[5:]: function for name, function in names.items() if name.startswith("test_")}
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--boot", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    names = options.names or [name for name in tests if options.boot or name not in boots]
    if options.list:
        print("\n".join(tests))
        return 0
    failed = 0
    for name in names:
        line = run_test(tests, options, name)
        print(line, flush=True)
        failed += line.startswith("FAIL")
    return 1 if failed else 0
