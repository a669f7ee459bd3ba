"""Writes a random C program without undefined behaviour, the same for the same seed: what it
prints must not depend on the compiler's options. usage: generate.py SEED"""

import random
import sys

random.seed(int(sys.argv[1]))
TYPES = ["uint8_t", "uint16_t", "uint32_t", "uint64_t", "int8_t", "int16_t", "int32_t", "int64_t"]
GLOBALS = [(f"g{i}", random.choice(TYPES)) for i in range(24)]
ARRAYS = [(f"a{i}", random.choice(TYPES), random.choice([8, 16, 32, 64])) for i in range(6)]


def expression(names, depth):
    """Of type uint64_t."""
    if depth <= 0 or random.random() < 0.1:
        kind = random.random()
        if kind < 0.55:
            return f"(uint64_t){random.choice(names)}"
        if kind < 0.75:
            name, _, size = random.choice(ARRAYS)
            return f"(uint64_t){name}[(uint64_t){random.choice(names)} % {size}]"
        return f"{random.choice([0, 1, 3, 10, 255, 4096, random.getrandbits(32), random.getrandbits(64)])}u"
    left, right = expression(names, depth - 1), expression(names, depth - 1)
    kind = random.randrange(16)
    if kind < 5:
        return f"({left} {random.choice(['+', '-', '*', '^', '&', '|'])} {right})"
    if kind == 5:
        return f"({left} / ({right} | 1))"
    if kind == 6:
        return f"({left} % ({right} | 1))"
    if kind == 7:
        return f"({left} << ({right} & 63))"
    if kind == 8:
        return f"({left} >> ({right} & 63))"
    if kind == 9:
        return f"(uint64_t)({left} {random.choice(['<', '==', '>=', '!='])} {right})"
    if kind == 10:
        return f"(uint64_t)((int64_t){left} < (int64_t){right})"
    if kind == 11:
        return f"({left} ? {right} : {expression(names, depth - 2)})"
    if kind == 12:
        return f"(uint64_t)({random.choice(TYPES)}){left}"
    if kind == 13:
        return f"rotate({left}, {right})"
    if kind == 14:
        return f"(uint64_t)((int32_t){left} >> ({right} & 31))"
    return f"real({left}, {right})"


def statements(names, depth, indent):
    for _ in range(random.randint(2, 5)):
        pad = "\t" * indent
        kind = random.random()
        if kind < 0.45 or depth == 0:
            name, kind_of = random.choice(GLOBALS)
            yield f"{pad}{name} {random.choice(['=', '+=', '^=', '-='])} ({kind_of}){expression(names, 3)};"
        elif kind < 0.6:
            name, kind_of, size = random.choice(ARRAYS)
            yield f"{pad}{name}[{expression(names, 1)} % {size}] = ({kind_of}){expression(names, 2)};"
        elif kind < 0.75:
            yield f"{pad}if ({expression(names, 2)}) {{"
            yield from statements(names, depth - 1, indent + 1)
            yield f"{pad}}} else {{"
            yield from statements(names, depth - 1, indent + 1)
            yield f"{pad}}}"
        elif kind < 0.9:
            i = f"i{indent}"
            yield f"{pad}for (unsigned {i} = 0; {i} < {random.randint(2, 12)}; {i}++) {{"
            yield from statements(names + [i], depth - 1, indent + 1)
            yield f"{pad}}}"
        else:
            name, kind_of, size = random.choice(ARRAYS)
            other, _, other_size = random.choice(ARRAYS)
            least = min(size, other_size)
            yield f"{pad}for (unsigned k = 0; k < {least}; k++)"
            yield f"{pad}\t{name}[k] = ({kind_of})((uint64_t){name}[k] * {random.randint(1, 99)}u + {other}[{least - 1} - k]);"


def function(number, callees):
    names = [name for name, _ in GLOBALS] + ["x", "y"]
    yield f"static __attribute__(({random.choice(['noinline', 'noinline', 'unused'])})) uint64_t f{number}(uint64_t x, {random.choice(TYPES)} y)"
    yield "{"
    yield from statements(names, 2, 1)
    for callee in callees:
        yield f"\tx += f{callee}({expression(names, 2)}, {expression(names, 1)});"
    yield f"\treturn {expression(names, 3)} ^ x;"
    yield "}"


def main():
    print("#include <stdint.h>\n#include <stdio.h>\n")
    print("static uint64_t rotate(uint64_t a, uint64_t n) { n &= 63; return n ? a << n | a >> (64 - n) : a; }")
    print("static uint64_t real(uint64_t a, uint64_t b)\n{")
    print("\tdouble value = (double)(a >> 12) / ((double)(b & 0xffff) + 1);\n")
    print("\treturn (uint64_t)value ^ (uint64_t)(float)(int32_t)(value < 2e9 ? value : 7);\n}")
    for name, kind in GLOBALS:
        print(f"static {kind} {name} = ({kind}){random.getrandbits(64)}u;")
    for name, kind, size in ARRAYS:
        print(f"static {kind} {name}[{size}];")
    count = 14
    for number in range(count):
        callees = random.sample(range(number), min(number, random.randint(0, 2)))
        print("\n".join(function(number, callees)))
    print("int main(void)\n{\n\tuint64_t hash = 1;\n\n\t(void)rotate;\n\t(void)real;")
    print("\tfor (unsigned i = 0; i < 300; i++) {")
    for number in range(count):
        print(f"\t\thash = hash * 31 + f{number}(hash + i, i);")
    print("\t}")
    for name, _ in GLOBALS:
        print(f"\thash = hash * 31 + (uint64_t){name};")
    for name, _, size in ARRAYS:
        print(f"\tfor (unsigned i = 0; i < {size}; i++)\n\t\thash = hash * 31 + (uint64_t){name}[i];")
    print('\tprintf("%016llx\\n", (unsigned long long)hash);\n\treturn 0;\n}')


main()
