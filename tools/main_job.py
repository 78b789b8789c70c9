#!/usr/bin/env python3
"""The main job: imports health data while two groups consume it, kills the broker in the middle, and accounts for every
row afterwards.

It starts busd on a temporary directory, imports four CSV files (the Fitbit export where it is there, else invented
vitals), kills the broker with SIGKILL, starts it again, waits until both groups have settled everything, imports the
files once more, replays the log, and prints a table. A mismatch exits 1.
"""

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
REAL_DATA = PROJECT.parent / "shared" / "data" / "fitbit"
FILES = {
    "hourly_steps": "hourlySteps_merged.csv",
    "daily_activity": "dailyActivity_merged.csv",
    "sleep": "sleepDay_merged.csv",
    "weight": "weightLogInfo_merged.csv",
}
TOPIC = "health.data.updated"
PATIENCE_S = 120
# Group and number of its members.
GROUPS = {"analytics": 2, "archive": 1}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failed(Exception):
    pass


class Bus:
    """A broker on a directory of its own, and bus-cli towards it."""

    def __init__(self, build, directory):
        self.busd = build / "broker" / "busd"
        self.bus_cli = build / "tools" / "bus-cli"
        self.directory = directory
        self.endpoint = f"ipc://{directory}/bus.sock"
        self.broker = None

    def start(self):
        with open(self.directory / "busd.log", "ab") as log:
            self.broker = subprocess.Popen([self.busd, "--data", self.directory / "data", "--listen", self.endpoint], stderr=log,
                                           start_new_session=True)
        self.ask("status", "--wait", "--timeout", f"{PATIENCE_S}s")

    def command(self, *words):
        return [self.bus_cli, "-s", self.endpoint, *words]

    def begin(self, *words, **options):
        return subprocess.Popen(self.command(*words), **options)

    def ask(self, *words):
        result = subprocess.run(self.command("-o", "json", *words), capture_output=True, text=True, check=False, timeout=PATIENCE_S * 2)
        if result.returncode != 0:
            raise Failed(f"bus-cli {' '.join(map(str, words))} ended with {result.returncode}: {result.stderr.strip()}")
        return json.loads(result.stdout)

    def committed(self):
        return self.ask("status")["committed"]


def input_files(directory, data):
    """The files by map name, and where they come from. `data`: a folder of the caller's, or None."""
    folder = Path(data) if data else REAL_DATA
    if folder.is_dir():
        return {name: folder / file for name, file in FILES.items()}, str(folder)
    if data:
        raise Failed(f"{data} is not a folder")
    out = directory / "vitals"
    subprocess.run([sys.executable, PROJECT / "examples" / "vitals" / "generate.py", "--seed", "7", "--rows", "22099", "--out", out],
                   check=True, stdout=subprocess.DEVNULL)
    return {name: out / file for name, file in FILES.items()}, "invented vitals, seed 7"


def rows_in(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return sum(1 for row in csv.reader(file) if row) - 1


def steps_in(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return sum(int(row["StepTotal"]) for row in csv.DictReader(file))


def start_consumers(bus):
    consumers = []
    for group, members in GROUPS.items():
        for member in range(members):
            out = open(bus.directory / f"{group}-{member}.ndjson", "wb")
            consumers.append(bus.begin("-o", "ndjson", "sub", "health.>", "--group", group, stdout=out, stdin=subprocess.DEVNULL))
            out.close()
    return consumers


def import_file(bus, name, path, *options):
    return bus.begin("--timeout", f"{PATIENCE_S}s", "import", "csv", path, "--map", PROJECT / "examples" / "fitbit" / f"{name}.toml", *options,
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def summary_of(process, name):
    out, err = process.communicate(timeout=PATIENCE_S * 2)
    if process.returncode != 0:
        raise Failed(f"the import of {name} ended with {process.returncode}: {err.strip()}")
    return json.loads(out.splitlines()[-1])


def wait_until(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"after {PATIENCE_S} s still waiting for {what}")
        time.sleep(0.02)


def kill_in_the_middle(bus, rows):
    """SIGKILL once a third is stored, while the imports go on."""
    wait_until("a third of the rows to be stored", lambda: bus.committed() * 3 >= rows)
    bus.broker.kill()
    bus.broker.wait()
    say("killed the broker with SIGKILL in the middle; starting it again")
    begun = time.monotonic()
    bus.start()
    took_ms = (time.monotonic() - begun) * 1000
    position = bus.committed()
    say(f"serving again after {took_ms:.0f} ms, with {position:,} of {rows:,} rows stored")
    if position >= rows:
        raise Failed("the broker was killed too late: all rows were stored")


def import_all(bus, files, *options, while_it_runs=None):
    # The files go in side by side, as they would from several services.
    imports = {name: import_file(bus, name, path, *options) for name, path in files.items()}
    if while_it_runs:
        while_it_runs()
    return {name: summary_of(process, name) for name, process in imports.items()}


def settled(bus, group, events):
    info = bus.ask("group", "info", group)
    return info["lag"] == 0 and info["open"] == 0 and info["committed"] >= events


class Replay:
    """What a replay of the whole log adds up to."""

    def __init__(self, bus, patterns):
        self.events = self.twice = self.steps = self.gaps = 0
        seen = set()
        process = bus.begin("-o", "ndjson", "replay", "--topic", patterns, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            event = json.loads(line)
            self.events += 1
            self.gaps += event["position"] != self.events
            origin = (event["publisher"], event["sequence"])
            self.twice += origin in seen
            seen.add(origin)
            payload = event["payload"]
            if payload["data_type"] == "steps":
                self.steps += int(payload["value"]["number"])
        if process.wait() != 0:
            raise Failed(f"the replay ended with {process.returncode}")


def positions_in(directory, group):
    """The positions a group's members have printed, each counted."""
    counts = {}
    for member in range(GROUPS[group]):
        with open(directory / f"{group}-{member}.ndjson", encoding="utf-8") as file:
            for line in file:
                position = json.loads(line)["position"]
                counts[position] = counts.get(position, 0) + 1
    return counts


def table(rows):
    width = max(len(name) for name, *_ in rows)
    for name, value, good in rows:
        print(f"{name:<{width}}  {value:>12,}{'' if good is None else '  ok' if good else '  MISMATCH'}".rstrip())


def account(bus, files, summaries, again):
    rows = sum(rows_in(path) for path in files.values())
    steps = steps_in(files["hourly_steps"])
    replay = Replay(bus, "health.>")
    acked = {group: bus.ask("group", "info", group)["acked"] for group in GROUPS}
    seen = {group: positions_in(bus.directory, group) for group in GROUPS}
    stored = sum(summary["published"] + summary["duplicates"] for summary in summaries.values())
    lines = [("hourly rows in the file", rows_in(files["hourly_steps"]), None),
             ("rows in the four files", rows, None),
             ("events in the log", replay.events, replay.events == rows == stored)]
    lines += [(f"acknowledged by group {group}", acked[group], acked[group] == rows and len(seen[group]) == rows) for group in GROUPS]
    lines += [("hourly steps in the CSV", steps, None),
              ("hourly steps in the replay", replay.steps, replay.steps == steps),
              ("stored twice (same publisher and sequence)", replay.twice, replay.twice == 0),
              ("stored by importing everything again", again, again == 0),
              ("lost", rows - replay.events + replay.gaps, replay.events == rows and replay.gaps == 0)]
    table(lines)
    return all(good is not False for _, _, good in lines)


def commands_to_try(bus):
    command = f"{os.path.relpath(bus.bus_cli)} -s {bus.endpoint}"
    say(f"\nThe broker goes on running (pid {bus.broker.pid}, data in {bus.directory}). Try:\n"
        f"  {command} status\n"
        f"  {command} replay --from -3\n"
        f"  {command} group ls\n"
        f"  {command} replay --key 1503960366 --count 5 -o ndjson\n"
        f"Stop it with: kill {bus.broker.pid}; rm -r {bus.directory}")


def run(bus, options):
    files, origin = input_files(bus.directory, options.data)
    rows = sum(rows_in(path) for path in files.values())
    say(f"importing {rows:,} rows from {origin}")
    bus.start()
    consumers = start_consumers(bus)
    try:
        # Not as fast as it goes, so that there is a middle to kill in.
        summaries = import_all(bus, files, "--rate", "10000", while_it_runs=lambda: kill_in_the_middle(bus, rows))
        again = import_all(bus, files)
        for group in GROUPS:
            wait_until(f"group {group} to settle everything", lambda group=group: settled(bus, group, rows))
    finally:
        for consumer in consumers:
            consumer.send_signal(signal.SIGINT)
        for consumer in consumers:
            consumer.wait(PATIENCE_S)
    return account(bus, files, summaries, sum(summary["published"] for summary in again.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", type=Path, required=True, help="the build directory")
    parser.add_argument("--data", help="folder of the four CSV files; left out: the Fitbit export if it is there, else invented vitals")
    parser.add_argument("--keep", action="store_true", help="leave the broker running")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bus-quickstart-"))
    bus = Bus(options.build.resolve(), directory)
    good = False
    try:
        good = run(bus, options)
    except (Failed, subprocess.TimeoutExpired) as failed:
        say(f"quickstart: {failed}")
    if good and options.keep:
        commands_to_try(bus)
        return 0
    if bus.broker:
        bus.broker.terminate()
        bus.broker.wait(PATIENCE_S)
    if good:
        shutil.rmtree(directory)
    else:
        say(f"quickstart: it did not work out; the log and the broker's messages are in {directory}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
