"""Goal: `event lineage` shows the conversation of an event as a tree, from whichever of its events one asks, and says where
something is missing or cut off.
Method: small conversations published with ids of our own, and with those that libbus makes."""

import json
import os
import pty
import subprocess
import time
import unittest

from broker_case import PATIENCE, Case, command, environment, lines, notification, wait_until

FIELDS = ["position", "depth", "parent", "cause", "named", "id", "topic", "type", "key", "time", "correlation_id", "causation_id"]


def event(id, cause=None, correlation=None, topic="orders.new"):
    return {"id": id, "topic": topic, "type": "suoke.realtime.SystemNotification", "causation_id": cause, "correlation_id": correlation,
            "payload": json.loads(notification(1))}


class Lineage(Case):
    def store(self, *events):
        self.run_cli("pub", "--events", "-", text="".join(json.dumps(one) + "\n" for one in events))

    def rows(self, *words, expect=0):
        return lines(self.run_cli("event", "lineage", *words, "-o", "ndjson", expect=expect))

    def tree(self, *words, expect=0):
        """(position, depth, position of the parent, cause)"""
        return [(row["position"], row["depth"], row["parent"], row["cause"]) for row in self.rows(*words, expect=expect)]

    def test_shows_a_conversation_from_any_of_its_events(self):
        self.store(event("a", None, "c"), event("x"), event("b", "a", "c", "orders.paid"), event("y", "b", "other"), event("d", "a", "c"),
                   event("e", "b", "c"))
        tree = [(1, 0, None, "none"), (3, 1, 1, "parent"), (6, 2, 3, "parent"), (5, 1, 1, "parent")]
        for name, position in [("a", 1), ("e", 6), ("1", 1), ("5", 5), ("-1", 6), ("end", 6)]:
            with self.subTest(name=name):
                rows = self.rows(name)
                self.assertEqual([(row["position"], row["depth"], row["parent"], row["cause"]) for row in rows], tree)
                self.assertEqual([row["position"] for row in rows if row["named"]], [position])
        row = self.rows("b")[1]
        self.assertEqual(list(row), FIELDS)
        self.assertEqual((row["id"], row["topic"], row["correlation_id"], row["causation_id"], row["key"]), ("b", "orders.paid", "c", "a", None))
        self.assertEqual(json.loads(self.run_cli("event", "lineage", "b", "-o", "json").stdout), self.rows("b"))

    def test_follows_causes_where_there_is_no_correlation_id(self):
        self.store(event("a"), event("b", "a"), event("x"), event("d", "b"), event("w", "v"))
        for name in ["a", "b", "d"]:
            self.assertEqual(self.tree(name), [(1, 0, None, "none"), (2, 1, 1, "parent"), (4, 2, 2, "parent")])
        self.assertEqual(self.tree("x"), [(3, 0, None, "none")])

    def test_finds_ids_that_carry_their_time(self):
        self.publish(1, "--correlation-id", "c")
        first = json.loads(self.run_cli("event", "get", "1", "-o", "json").stdout)["id"]
        self.publish(1, "--correlation-id", "c", "--causation-id", first)
        second = json.loads(self.run_cli("event", "get", "2", "-o", "json").stdout)["id"]
        for name in [first, second]:
            self.assertEqual(self.tree(name), [(1, 0, None, "none"), (2, 1, 1, "parent")])
        self.assertEqual(self.tree(second, "--from", "2"), [(2, 1, None, "missing")])

    def test_finds_ids_of_clocks_that_are_ahead(self):
        """The search begins a minute before what the id says: after the event, or after the end of the log."""
        for ahead in [61, 86400 * 365]:
            made = int((time.time() + ahead) * 1000)
            id = f"{made >> 16:08x}-{made & 0xffff:04x}-7000-8000-000000000000"
            self.store(event("a", None, id), event(id, "a", id))
            position = json.loads(self.run_cli("status", "-o", "json").stdout)["committed"]
            wait_until(lambda: ahead > 61 or time.time() > made / 1000 - 60)
            self.store(event("later"))
            self.assertEqual(self.tree(id), [(position - 1, 0, None, "none"), (position, 1, position - 1, "parent")])
            effect = f"effect-{ahead}"
            self.store(event(effect, id, effect))
            self.assertEqual(self.tree(effect)[0], (position, 0, None, "not_followed"))

    def test_says_that_a_cause_is_not_in_the_log(self):
        self.store(event("a", "gone", "c"), event("b", "a", "c"), event("d", "gone", "c"))
        self.assertEqual(self.tree("b"), [(1, 1, None, "missing"), (2, 2, 1, "parent"), (3, 1, None, "missing")])
        text = self.run_cli("event", "lineage", "b").stdout.splitlines()
        self.assertEqual(text[0], "(cause gone is not in the log)")
        self.assertEqual([line.split("\t")[0] for line in text[1:]], ["  1", "    2", "  3"])
        self.assertTrue(text[2].endswith("\tb\t(named)"), text[2])

    def test_shows_a_cause_of_another_conversation(self):
        self.store(event("a", "z", "other"), event("b", "a", "c"))
        self.assertEqual(self.tree("b"), [(1, 0, None, "not_followed"), (2, 1, 1, "parent")])
        self.assertIn("(of another conversation)", self.run_cli("event", "lineage", "b").stdout.splitlines()[0])

    def test_a_circle_of_causes_ends(self):
        self.store(event("a", "b"), event("b", "a"), event("s", "s", "c"))
        self.assertEqual(self.tree("b"), [(1, 0, None, "cycle"), (2, 1, 1, "parent")])
        self.assertEqual(self.tree("s"), [(3, 0, None, "cycle")])

    def test_says_that_it_is_cut_off(self):
        self.store(event("a", None, "c"), event("b", "a", "c"), event("d", "b", "c"), event("e", "d", "c"))
        self.assertEqual(self.tree("a", "--count", "2", expect=3), [(1, 0, None, "none"), (2, 1, 1, "parent")])
        result = self.run_cli("event", "lineage", "e", "--count", "2", expect=3)
        self.assertIn("more than 2 events belong to it", result.stderr)
        self.assertIn("(cause d is not among the events shown)", result.stdout)
        self.assertEqual(len(self.tree("a", "--count", "4")), 4)

    def test_looks_at_a_part_of_the_log(self):
        self.store(event("a", None, "c"), event("b", "a", "c"), event("d", "b", "c"))
        self.assertEqual(self.tree("d", "--from", "2"), [(2, 1, None, "missing"), (3, 2, 2, "parent")])
        self.assertIn("(cause a is not in the part of the log that was searched)", self.run_cli("event", "lineage", "d", "--from", "2").stdout)
        self.assertEqual(self.tree("a", "--to", "2"), [(1, 0, None, "none"), (2, 1, 1, "parent")])
        self.assertIn("'a'", self.run_cli("event", "lineage", "a", "--from", "2", expect=4).stderr)

    def test_what_is_not_there_ends_with_4(self):
        self.assertEqual(self.run_cli("event", "lineage", "a", expect=4).stdout, "")  # of an empty log
        self.store(event("a"))
        err = self.run_cli("event", "lineage", "none", expect=4).stderr
        self.assertIn("not_found: no event has the id 'none' in the log, from position 1 to 1", err)
        self.run_cli("event", "lineage", "7", expect=4)
        self.run_cli("event", "lineage", "@-1h", expect=2)

    def test_draws_the_tree_on_a_terminal(self):
        self.store(event("a", None, "c"), event("b", "a", "c"), event("d", "b", "c"), event("e", "a", "c"))
        terminal, end = pty.openpty()
        process = subprocess.Popen(command(self.broker, "event", "lineage", "b"), stdin=subprocess.DEVNULL, stdout=end, stderr=subprocess.PIPE,
                                   env={**environment(), "NO_COLOR": "1"})
        self.assertEqual(process.wait(PATIENCE), 0, process.stderr.read())
        process.stderr.close()
        os.close(end)
        shown = os.read(terminal, 65536).decode().splitlines()
        os.close(terminal)
        self.assertEqual([line.split("  2")[0] for line in shown], ["1", "├── 2", "│   └── 3", "└── 4"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
