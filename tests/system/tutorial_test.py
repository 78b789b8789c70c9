"""Goal: what the tutorials say is what happens.
Method: run the commands of docs/EVENT_SOURCING.md and docs/SAGAS.md in their order, each page against an empty log, and compare all that they print. The
program on a page is the one in examples/."""

import os
import re
import shlex
import subprocess
import tempfile
import unittest

from broker_case import BUS_CLI, PATIENCE, Broker, environment

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
EXAMPLES = os.environ["EXAMPLES"]
PROGRAMS = {
    "bus-cli": [BUS_CLI],
    "first_saga": [os.path.join(EXAMPLES, "first_saga", "first_saga")],
    "examples/health_saga/run": [os.path.join(ROOT, "examples", "health_saga", "run"), "--build", os.path.dirname(EXAMPLES)],
}


def page(name):
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as file:
        return file.read()


def steps(text):
    """Each command, and the lines that should follow it."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def is_like(expected, line):
    """Blanks count as one, and the ellipsis stands for anything."""
    parts = [re.escape(" ".join(part.split())) for part in expected.split("…")]
    return re.fullmatch(r"\s*.*\s*".join(parts), " ".join(line.split())) is not None


class Tutorial(unittest.TestCase):
    def run_command(self, command):
        words = shlex.split(command)
        return subprocess.run([*PROGRAMS[words[0]], *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT,
                              env={**environment(), "BUS_SERVER": self.broker.endpoint})

    def follow(self, name, least):
        commands = steps(page(name))
        self.assertGreater(len(commands), least)
        with tempfile.TemporaryDirectory() as directory:
            self.broker = Broker(directory)
            self.broker.start()
            self.addCleanup(self.broker.close)
            for command, expected in commands:
                result = self.run_command(command)
                printed = result.stdout.splitlines() + result.stderr.splitlines()
                if result.returncode != 0:
                    printed.append(f"[exit {result.returncode}]")
                self.assertEqual(len(printed), len(expected), f"{command}\n" + "\n".join(printed))
                for line, wanted in zip(printed, expected):
                    self.assertTrue(is_like(wanted, line), f"{command}\nprinted: {line}\nthe page: {wanted}")
            self.broker.stop()

    def test_event_sourcing(self):
        self.follow("EVENT_SOURCING.md", 8)

    def test_sagas(self):
        self.follow("SAGAS.md", 5)

    def test_the_program_on_the_page_is_the_one_that_is_built(self):
        with open(os.path.join(ROOT, "examples", "first_saga", "first_saga.cpp"), encoding="utf-8") as file:
            self.assertIn(f"```cpp\n{file.read()}```\n", page("SAGAS.md"))

    def test_the_comparison_can_fail(self):
        self.assertTrue(is_like("1  …  a  {…}", "1\t2026 a {x}"))
        self.assertFalse(is_like("1  …  a  {…}", "1\t2026 b {x}"))
        self.assertFalse(is_like("version: 2", "version: 3"))


if __name__ == "__main__":
    unittest.main()
