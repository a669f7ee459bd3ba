"""A day of a script: parse, count, group, sort, format."""
import collections
import hashlib
import json
import re

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]+")


class Entry:
    def __init__(self, word):
        self.word = word
        self.lines = []

    def add(self, number):
        self.lines.append(number)

    @property
    def spread(self):
        return self.lines[-1] - self.lines[0]


def index(lines):
    entries = {}
    for number, line in enumerate(lines):
        for word in WORD.findall(line):
            entry = entries.get(word)
            if entry is None:
                entry = entries[word] = Entry(word)
            entry.add(number)
    return entries


def distance(first, second):
    """Levenshtein's, row by row."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def main():
    with open("/bench/data/text", encoding="latin-1") as file:
        lines = [next(file) for _ in range(60000)]
    entries = index(lines)
    ranked = sorted(entries.values(), key=lambda entry: (-len(entry.lines), entry.word))
    table = [{"word": entry.word, "count": len(entry.lines), "spread": entry.spread} for entry in ranked]
    text = json.dumps(table, sort_keys=True)
    assert json.loads(text) == table
    print(len(entries), hashlib.sha256(text.encode()).hexdigest())
    lengths = collections.Counter(len(entry.word) for entry in ranked)
    print(sorted(lengths.items()))
    near = [(distance(a.word, b.word), a.word, b.word) for a in ranked[:80] for b in ranked[:80] if a is not b]
    print(min(near), max(near))


main()
