"""What kvik is to reach, beside what a run has measured of it: printed at its end. Nothing fails by it."""


class Goals:
    def __init__(self):
        self.lines = []

    def at_most(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        self._add(what, measured, "at most", limit, unit, measured <= limit)

    def at_least(self, what: str, measured: float, limit: float, unit: str = "") -> None:
        self._add(what, measured, "at least", limit, unit, measured >= limit)

    def none(self, what: str, names) -> None:
        names = list(names)
        self.lines.append(f"{'no ' if names else 'yes'}  {what}: {', '.join(names) or 'none'}   (none wanted)")

    def _add(self, what: str, measured: float, word: str, limit: float, unit: str, is_reached: bool) -> None:
        self.lines.append(f"{'yes' if is_reached else 'no '}  {what}: {measured:.3g}{unit}   ({word} {limit:g}{unit} wanted)")

    def print(self) -> None:
        if self.lines:
            print("\nGoals\n" + "\n".join(self.lines), flush=True)
