"""Goal: what the figures and refusals of a group say is so: lag is work to do, nothing is settled uncounted, and no slip of the pen
takes events away.
Method: the real broker, and bus-cli as an operator uses it."""

import unittest

from broker_case import wait_until
from groups_test import GroupCase


class Figures(GroupCase):
    def test_a_name_alone_makes_no_group(self):
        self.fill("a")
        self.assertIn("there is no group 'nope'", self.run_cli("sub", "--group", "nope", "--until-end", expect=4).stderr)
        self.assertEqual(self.json("group", "ls"), [])

    def test_what_does_not_match_is_no_lag_though_nobody_is_there(self):
        self.create("quiet", "--topic", "quiet.>", "--from", "end")
        self.fill("a", "b")
        self.assertEqual(self.group("quiet")["lag"], 0)
        self.broker.process.kill()
        self.broker.process.wait()
        self.broker.start()
        wait_until(lambda: self.json("group", "lag", "quiet")[0]["lag"] == 0)
        self.assertEqual(self.json("group", "lag", "quiet")[0]["oldest_at"], None)

    def test_a_filter_that_is_changed_settles_what_it_leaves_out_and_counts_it(self):
        self.fill("a", "b")
        self.create("g", "--topic", "orders.>")
        self.work("g", 2, {1: 1, 2: 65})
        self.run_cli("group", "edit", "g", "--topic", "none.>")
        self.run_cli("sub", "--group", "g", "--until-end")
        self.assertEqual(self.named(self.group("g"), ["open", "acked", "skipped"]), {"open": 0, "acked": 0, "skipped": 1})
        self.assertEqual(self.json("dlq", "redrive", "g")["redriven"], 1)
        self.run_cli("sub", "--group", "g", "--until-end")
        self.assertEqual(self.named(self.group("g"), ["open", "dead_letters", "skipped"]), {"open": 0, "dead_letters": 0, "skipped": 2})

    def test_a_time_to_come_is_no_place(self):
        self.fill("a")
        self.create("g", "--topic", "orders.>")
        before = self.group("g")
        for words in [["group", "create", "late", "--topic", "orders.>"], ["sub", "orders.>", "--count", "1"]]:
            self.assertIn("still to come", self.run_cli(*words, "--from", "@2100-01-01", expect=4).stderr)
        self.assertIn("still to come", self.run_cli("group", "seek", "g", "@2100-01-01", expect=4).stderr)
        self.assertEqual((self.group("g"), len(self.json("group", "ls"))), (before, 1))


if __name__ == "__main__":
    unittest.main(verbosity=2)
