"""Python's share of the soak test: prints results that depend on the seed alone.
usage: library.py SEED"""

import bisect
import bz2
import collections
import decimal
import fractions
import functools
import hashlib
import heapq
import itertools
import json
import lzma
import math
import random
import re
import struct
import sys
import zlib

seed = int(sys.argv[1])
random.seed(seed)


def big_integers():
    n = 3 ** (4000 + seed) + 2 ** 7001
    value = pow(n, 65537, 2 ** 2203 - 1)
    return math.isqrt(n) % 10 ** 30, value % 10 ** 30, hex(n ** 5)[:40], math.gcd(n, value)


def primes():
    sieve = bytearray([1]) * 400000
    for i in range(2, 633):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(sieve[i * i::i]))
    return sum(i for i in range(2, len(sieve)) if sieve[i])


def hashes():
    data = random.randbytes(300000)
    return [hashlib.new(name, data).hexdigest() for name in ("md5", "sha1", "sha256", "sha512",
                                                             "blake2b", "sha3_256")]


def compression():
    words = [random.randbytes(random.randint(2, 9)) for _ in range(300)]
    data = b"".join(random.choice(words) for _ in range(30000))
    out = []
    for module in (zlib, bz2, lzma):
        packed = module.compress(data)
        assert module.decompress(packed) == data
        out.append((len(packed), zlib.crc32(packed)))
    return out


def documents():
    tree = {f"key{i}": [random.random(), random.getrandbits(70), {"text": chr(random.randint(32, 9999))
            * random.randint(0, 9), "none": None, "deep": [[i] * (i % 5)]}] for i in range(3000)}
    text = json.dumps(tree, sort_keys=True)
    assert json.loads(text) == tree
    return hashlib.sha256(text.encode()).hexdigest(), len(text)


def sorting():
    values = [random.gauss(0, 1e6) for _ in range(60000)]
    heap = values[:20000]
    heapq.heapify(heap)
    first = [heapq.heappop(heap) for _ in range(500)]
    ordered = sorted(values, key=lambda value: (int(value) % 97, value))
    return first[-1].hex(), ordered[12345].hex(), bisect.bisect(sorted(values), 1234.5)


def expressions():
    text = " ".join(f"{random.choice(['alpha', 'beta', 'x'])}{random.randint(0, 999)}@"
                    f"{random.choice(['host', 'node'])}.{random.choice(['org', 'net'])};" for _ in range(8000))
    found = re.findall(r"(?P<user>[a-z]+\d*[02468])@(?P<host>\w+)\.(org|net)\b;?", text)
    changed = re.sub(r"(\d)(\d+)", lambda m: m.group(2) + m.group(1), text)
    return len(found), hashlib.md5(repr(found).encode()).hexdigest(), hashlib.md5(changed.encode()).hexdigest()


def decimals():
    decimal.getcontext().prec = 80
    total = decimal.Decimal(0)
    for i in range(1, 3000):
        total += decimal.Decimal(i).sqrt() / (i + seed)
    third = sum((fractions.Fraction(1, i * i + seed) for i in range(1, 300)), fractions.Fraction(0))
    return str(total), third.numerator % 10 ** 20, third.denominator % 10 ** 20


def reals():
    total = 0.0
    for i in range(60000):
        x = random.random() * 20 - 10
        total += math.sin(x) * math.exp(x / 5) + math.atan2(x, i + 1) + x ** 3 // 1.5 + math.fmod(x, 0.3)
    packed = struct.pack("<fdqHb", total % 1e5, total, int(total * 1000), int(abs(total)) % 65536, -7)
    return total.hex(), packed.hex()


class Account:
    def __init__(self, owner):
        self.owner, self.balance, self.log = owner, 0, collections.deque(maxlen=50)

    def add(self, amount):
        if amount % 13 == 0:
            raise ValueError(amount)
        self.balance += amount
        self.log.append(amount)


def objects():
    accounts = [Account(f"owner {i}") for i in range(200)]
    refused = 0
    for _ in range(60000):
        try:
            random.choice(accounts).add(random.randint(-1000, 1000))
        except ValueError:
            refused += 1
    ranked = sorted(accounts, key=lambda account: (account.balance, account.owner))
    return refused, [account.owner for account in ranked[:5]], sum(sum(a.log) for a in accounts)


@functools.lru_cache(maxsize=None)
def paths(x, y):
    return 1 if x == 0 or y == 0 else paths(x - 1, y) + paths(x, y - 1)


def iterators():
    groups = itertools.groupby(sorted(random.choices("abcdefgh", k=20000)))
    counts = collections.Counter("".join(map(str, itertools.accumulate(range(3000 + seed)))))
    return paths(150, 150), [(k, len(list(g))) for k, g in groups], sorted(counts.items())


for part in (big_integers, primes, hashes, compression, documents, sorting, expressions, decimals,
             reals, objects, iterators):
    print(part.__name__, part(), flush=True)
