"""Goal: a fair race on a noisy machine.
Method: each workload gets servers of its own, started with empty data. First every system runs it once, untimed, at full
size: the first touch of memory and the growth of files are slow on virtual machines, and nobody shall pay for them in a
round that counts. Then the rounds: in each, every system in turn. Before each of them all servers have come to rest, since
some go on writing when their turn is over, and then comes a sync(), so that no system pays for what another has left
unwritten. All servers of a workload run all the time; those whose turn it is not have nothing to do.

While all of ours rest, what the processors do is the work of others: it is told, since a figure taken beside it says less.

A system that fails leaves the workload with its message, and the others go on."""

import contextlib
import json
import os
import time
from dataclasses import dataclass, field

from . import machine
from .processes import CannotDo, Failed, Interrupts
from .workloads import BUSDS, FLOORS

MEASUREMENT_S_MAX = 300
CANNOT_DO = 3  # exit status of a peer's program
WARM = 0       # the round that does not count

# At rest is who has done hardly anything for so long. Servers have some timers that always run.
REST_S, REST_S_MAX = 0.25, 20
REST_CPU_S, REST_BYTES = 0.03, 256 * 1024


@dataclass
class Outcome:
    """What came of one system in one workload."""

    count: int = 0
    command: str = ""
    rounds: list = field(default_factory=list)   # figures by name, or None where it failed
    settings: dict = field(default_factory=dict)
    acknowledged: str = ""
    failed: str = ""
    cannot: str = ""

    def over(self):
        return bool(self.failed or self.cannot)


BUSD_ACKNOWLEDGES = {
    "sub": "delivered, and acknowledgements are synced to disk", "replay": "nothing is acknowledged",
    "fanout": "published events are synced to disk before they are delivered",
}


def acknowledged_by_busd(workload):
    if workload.data:
        return "committed and synced, which on tmpfs is memory"
    return BUSD_ACKNOWLEDGES.get(workload.bus.split()[0], "committed and synced to disk")


def figures_of(result):
    """What the programs print, under the names of workloads.FIGURES."""
    figures = {"rate": result.get("events_per_second"), "per_commit": result.get("events_per_commit"),
               "log_bytes": result.get("log_bytes_per_event"), "start_ms": result.get("start_ms")}
    latencies = next((result[name] for name in ("latency_us", "delivery_us", "receipt_us") if result.get(name)), {})
    figures |= {name: value for name, value in latencies.items()}
    return {name: value for name, value in figures.items() if value is not None}


def written_by(result):
    """What busd has written, so that a floor can write the same; {} if it did not say."""
    rounds = result.get("rounds")
    last = rounds[-1] if isinstance(rounds, list) and rounds else {}
    if not last.get("records") or not last.get("record_bytes"):
        return {}
    return {"events": result.get("events", 0), "commits": last["commits"], "records": last["records"],
            "record_bytes": max(1, last["record_bytes"] // last["records"])}


def filled(words, values):
    try:
        return [word.format(**values) for word in words.split()]
    except KeyError as missing:
        raise Failed(f"busd has to tell {missing.args[0]} of the same round first") from missing


def is_at_rest(before, after):
    return after.cpu_s - before.cpu_s <= REST_CPU_S and after.written_bytes - before.written_bytes <= REST_BYTES


def wait_for_rest(all_servers):
    """(whether they rest, the part of the processors that other programs then use)."""
    deadline = time.monotonic() + REST_S_MAX
    before, clock = [server.work() for server in all_servers], machine.processor_time()
    while True:
        time.sleep(REST_S)
        after, now = [server.work() for server in all_servers], machine.processor_time()
        rested = all(map(is_at_rest, before, after))
        if rested or time.monotonic() > deadline:
            return rested, machine.busy_part(clock, now)
        before, clock = after, now


def measure(server, words):
    """The object that the program prints."""
    os.sync()
    status, out, error = server.measure(words, MEASUREMENT_S_MAX)
    if status == CANNOT_DO and server.name not in BUSDS:
        raise CannotDo(error.strip() or "it does not say why")
    server.check()
    if status != 0:
        raise Failed(f"{server.called} {' '.join(words)} ended with {status}: {error.strip()[-300:]}")
    try:
        result = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError) as wrong:
        raise Failed(f"{server.called} {' '.join(words)} printed no JSON but '{out[-200:]}'") from wrong
    if result.get("lost"):
        raise Failed(f"{result['lost']:,} of {result.get('events', 0):,} events never came")
    return result


class Progress:
    """Lines with the time that is left, as the average measurement so far tells it."""

    def __init__(self, say, steps):
        self.say, self.steps, self.done, self.begun = say, steps, 0, time.monotonic()

    def left(self):
        if not self.done:
            return "start"
        seconds = (time.monotonic() - self.begun) / self.done * (self.steps - self.done)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"

    def tell(self, text):
        self.say(f"[{self.done:>3}/{self.steps}, {self.left()}] {text}")

    def step(self, text):
        self.done += 1
        self.tell(text)

    def give_up(self, steps):
        self.steps -= steps


def stop(server):
    with Interrupts.held():
        server.stop()


class Race:
    """One workload, all of its systems."""

    def __init__(self, workload, systems, rounds, counts, progress, recorded=None):
        self.workload, self.rounds, self.progress, self.recorded = workload, rounds, progress, recorded
        self.outcomes = {name: Outcome(count=counts[name]) for name in systems}
        self.written = {}
        self.servers = {}
        self.others = []   # parts of the processors, before each measurement

    def say(self, text):
        self.progress.tell(f"{self.workload.name}: {text}")

    def leave(self, name, error, steps):
        outcome = self.outcomes[name]
        if isinstance(error, CannotDo):
            outcome.cannot = str(error)
        else:
            outcome.failed = str(error)
        self.progress.give_up(steps)
        self.say(f"{name} {'cannot do it' if outcome.cannot else 'FAILED'}: {error}")

    def start(self, make, stack):
        self.say(f"starting {', '.join(self.outcomes)}")
        for name in self.outcomes:
            with Interrupts.held():
                server = make(name, self.workload.data)
                stack.callback(stop, server)
            try:
                server.start()
                self.servers[name] = server
                self.prepare(name, server)
            except (Failed, CannotDo) as error:
                self.leave(name, error, self.rounds + 1)

    def prepare(self, name, server):
        workload, values = self.workload, {"log": self.workload.log, "count": self.outcomes[name].count}
        if workload.prepare and name not in FLOORS and name not in BUSDS:
            self.say(f"{name} prepares {workload.log:,} events")
            measure(server, filled(workload.prepare, values))
        if workload.fill:
            self.say(f"{name} gets {values['count']:,} events")
            measure(server, filled(workload.fill, values))
        if workload.crowd and name == "busd":
            self.say(f"{name} gets company: {workload.crowd}")
            server.gather(workload.crowd.split())

    def values(self, name):
        return {"count": self.outcomes[name].count, "log": self.workload.log, "data": self.servers[name].data, "recorded": self.recorded,
                **self.written}

    def turn(self, name, round_number):
        """One measurement of one system."""
        outcome, server = self.outcomes[name], self.servers[name]
        words = filled(self.workload.words(name), self.values(name))
        rested, others = wait_for_rest(self.servers.values())
        self.others.append(others)
        if not rested:
            self.say(f"some server is still busy {REST_S_MAX} s after its turn; going on")
        result = measure(server, words)
        figures = figures_of(result) | getattr(server, "figures", {})
        if name == "busd":
            self.written = written_by(result)
        if round_number != WARM:
            outcome.rounds.append(figures)
        outcome.command = " ".join([server.called, *words]).replace(str(server.data), "DIR")
        outcome.settings = result.get("settings", {"in_flight": result["in_flight"]} if "in_flight" in result else {})
        outcome.acknowledged = acknowledged_by_busd(self.workload) if name in BUSDS else server.acknowledges or result.get("acknowledged", "")
        return figures

    def run_round(self, number):
        label = "warming up" if number == WARM else f"round {number} of {self.rounds}"
        self.written = {}
        for name, outcome in self.outcomes.items():
            if outcome.over():
                outcome.rounds += [None] * (number != WARM)
                continue
            try:
                figures = self.turn(name, number)
            except (Failed, CannotDo) as error:
                outcome.rounds += [None] * (number != WARM)
                self.leave(name, error, self.rounds - number + 1)
                continue
            shown = next((figure for figure in self.workload.shows if figure in figures), None)
            self.progress.step(f"{self.workload.name}, {label}: {name}" + (f" {figures[shown]:,.0f} ({shown})" if shown else ""))

    def run(self, make):
        with contextlib.ExitStack() as stack:
            self.start(make, stack)
            for number in range(WARM, self.rounds + 1):
                self.run_round(number)
        return self.outcomes
