"""Goal: whoever is killed, and whenever: no receipt is lost, nothing is stored twice, each publisher's order is kept, and
every group gets everything.
Method: publishers and members of two groups work on one broker; 20 times (200 with BUS_LONG) one of them, or the broker,
is killed with SIGKILL once work has gone on for a while, and started again. Each wrote down what it was told; at the
end the ledgers are held against a replay of the log. Prints its seed; BUS_SEED repeats the choices."""

import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BUSD = os.environ["BUSD"]
BUS_CLI = os.environ["BUS_CLI"]
CLIENT = os.environ["CRASH_CLIENT"]
LONG = bool(os.environ.get("BUS_LONG"))
KILLS = 200 if LONG else 20
EVENTS = 200_000 if LONG else 20_000   # of each publisher
PUBLISHERS = ["north", "south", "west"]
MEMBERS = [("both", 0), ("both", 1), ("alone", 0)]
PATIENCE_S = 30


class World:
    def __init__(self, directory):
        self.directory = directory
        self.endpoint = f"ipc://{directory}/bus.sock"
        self.log = open(os.path.join(directory, "stderr.log"), "ab")
        self.processes = {}
        self.commands = {"broker": [BUSD, "--data", self.path("data"), "--listen", self.endpoint, "--fill-ahead", "8MiB"]}
        for name in PUBLISHERS:
            self.commands[name] = [CLIENT, "publish", self.endpoint, name, str(EVENTS), self.path(name)]
        for group, number in MEMBERS:
            member = f"{group}-{number}"
            self.commands[member] = [CLIENT, "consume", self.endpoint, group, self.path(member)]

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, name):
        self.processes[name] = subprocess.Popen(self.commands[name], stdout=self.log, stderr=self.log)

    def kill(self, name):
        process = self.processes[name]
        process.kill()
        process.wait()

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self.log.close()

    def receipts(self):
        return sum(len(self.lines(name)) for name in PUBLISHERS)

    def size(self):
        return sum(os.path.getsize(self.path(name)) for name in PUBLISHERS if os.path.exists(self.path(name)))

    def lines(self, name):
        if not os.path.exists(self.path(name)):
            return []
        with open(self.path(name), encoding="ascii") as file:
            return [line.split() for line in file]

    def ask(self, *words):
        out = subprocess.run([BUS_CLI, "-s", self.endpoint, "--timeout", f"{PATIENCE_S}s", "-o", "json", *words],
                             capture_output=True, check=True, timeout=PATIENCE_S * 2).stdout
        return json.loads(out)

    def replay(self):
        process = subprocess.Popen([BUS_CLI, "-s", self.endpoint, "-o", "ndjson", "replay"], stdout=subprocess.PIPE)
        for line in process.stdout:
            event = json.loads(line)
            yield event["position"], event["publisher"], event["sequence"], event["payload"]["notification_id"]
        assert process.wait() == 0


def wait_until(what, condition, world=None):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        for name, process in world.processes.items() if world else []:
            if process.poll() not in (None, 0):
                raise AssertionError(f"{name} ended with {process.returncode} while waiting for {what}")
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting for {what}")
        # The condition is a file that grows or a process that ends: there is nothing to be woken by.
        select.select([], [], [], 0.005)


class Crash(unittest.TestCase):
    def setUp(self):
        self.seed = int(os.environ.get("BUS_SEED", random.randrange(1 << 32)))
        print(f"seed {self.seed}", file=sys.stderr)
        self.random = random.Random(self.seed)
        self.directory = tempfile.mkdtemp(prefix="bus-crash-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.world = World(self.directory)
        self.addCleanup(self.world.close)
        self.addCleanup(self.show_messages)

    def show_messages(self):
        with open(self.world.path("stderr.log"), encoding="utf-8") as file:
            messages = [line for line in file if " info: " not in line]
        print("".join(messages[-40:]), file=sys.stderr, end="")

    def work_through_kills(self):
        world = self.world
        for name in world.commands:
            world.start(name)
        for kill in range(KILLS):
            # Bytes of the ledgers measure progress: a line has some twelve of them.
            goal = world.size() + self.random.randrange(1, 12 * EVENTS * len(PUBLISHERS) // (KILLS + 4))
            done = lambda: all(world.processes[name].poll() == 0 for name in PUBLISHERS)
            wait_until(f"progress before kill {kill}", lambda goal=goal: world.size() >= goal or done(), world)
            victim = "broker" if kill % 2 == 0 else self.random.choice([name for name in world.commands if name != "broker"])
            world.kill(victim)
            world.start(victim)

    def finish(self):
        world = self.world
        for name in PUBLISHERS:
            self.assertEqual(world.processes[name].wait(PATIENCE_S), 0, f"{name} failed; seed {self.seed}")
        for group in ("both", "alone"):
            wait_until(f"group {group} to settle everything",
                       lambda group=group: (info := world.ask("group", "info", group))["lag"] == 0 and info["open"] == 0)

    def test_loses_nothing_and_doubles_nothing(self):
        self.work_through_kills()
        self.finish()
        stored = {}
        last = dict.fromkeys(PUBLISHERS, 0)
        for expected, (position, publisher, sequence, name) in enumerate(self.world.replay(), start=1):
            self.assertEqual(position, expected, "the log has a gap")
            self.assertEqual(name, f"{publisher}-{sequence}", "the event is not what was published")
            self.assertNotIn((publisher, sequence), stored, "stored twice")
            self.assertEqual(sequence, last[publisher] + 1, "a publisher's order is broken")
            last[publisher] = sequence
            stored[publisher, sequence] = position
        self.assertEqual(last, dict.fromkeys(PUBLISHERS, EVENTS))
        for publisher in PUBLISHERS:
            for sequence, position in self.world.lines(publisher):
                self.assertEqual(stored.get((publisher, int(sequence))), int(position), "a receipt was lost or wrong")
        for group in ("both", "alone"):
            seen = {}
            for member in [f"{name}-{number}" for name, number in MEMBERS if name == group]:
                for position, publisher, sequence in self.world.lines(member):
                    seen[int(position)] = (publisher, int(sequence))
            self.assertEqual(seen, {position: origin for origin, position in stored.items()}, f"group {group} missed something")
        self.assertEqual(self.world.ask("log", "verify")["faults"], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
