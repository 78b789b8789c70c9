"""Goal: say how busd compares with another system although the machine is noisy, and whether that is what is demanded.
Method: both are measured in every round, one right after the other, and each round gives one ratio, so that what slows the
machine down for minutes slows both. The median of the ratios counts; the smallest and the largest tell how noisy it was."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    median: float
    min: float
    max: float

    @staticmethod
    def of(values):
        """None where there are no values."""
        return Spread(median(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Demand:
    """busd's `figure`, divided by that of system `against` (None: undivided), is `at_least` or `at_most` so much. `instead`:
    a floor and the part of it that is enough, too, since nothing that writes as much goes much faster on this machine."""

    figure: str
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    instead: tuple[str, float] | None = None

    def holds(self, ratio):
        return ratio >= self.at_least if self.at_least is not None else ratio <= self.at_most

    def __str__(self):
        text = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        text += f" x {self.against}" if self.against else ""
        return f"{text}, or >= {self.instead[1]:g} x {self.instead[0]}" if self.instead else text


def ratios(ours, theirs, figure):
    """Of the rounds in which both have the figure. `ours` and `theirs`: figures by name, or None, for each round."""
    return [our[figure] / their[figure] for our, their in zip(ours, theirs)
            if our and their and our.get(figure) is not None and their.get(figure)]


def values(rounds, figure):
    return [figures[figure] for figures in rounds if figures and figures.get(figure) is not None]


def reached(demand, rounds):
    """`rounds`: for each system its figures, round by round. None if that cannot be said."""
    ours = rounds.get("busd", [])

    def answer(figure, against, holds):
        found = values(ours, figure) if against is None else ratios(ours, rounds.get(against, []), figure)
        return holds(median(found)) if found else None

    answers = [answer(demand.figure, demand.against, demand.holds)]
    if demand.instead:
        floor, part = demand.instead
        answers.append(answer(demand.figure, floor, lambda ratio: ratio >= part))
    if True in answers:
        return True
    return None if None in answers else False
