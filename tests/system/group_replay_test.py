"""Goal: `replay --to-group` gives a group the events of a range that it has settled once more and no others, says what became of each,
waits where the group has no room, and what it has given outlives a crash.
Method: as in cli_test.py; the broker is killed with SIGKILL once the answer is there."""

import json
import signal
import subprocess
import unittest

from broker_case import PATIENCE, Case, begin, end, lines, notification, wait_until

OPEN_MAX = 131_072


class GroupReplay(Case):
    def setUp(self):
        super().setUp()
        self.run_cli("group", "create", "g", "--topic", "alerts.*", "--from", "start")

    def replay(self, *words, expect=0):
        result = self.run_cli("replay", "--to-group", "g", *words, "-o", "json", expect=expect)
        return json.loads(result.stdout), result.stderr

    def rest(self):
        """All that the group has left, acknowledged: (position, attempt) of each."""
        return [(event["position"], event["attempt"]) for event in lines(self.run_cli("-o", "ndjson", "sub", "--group", "g", "--until-end"))]

    def fill(self, count):
        text = "".join(notification(number) + "\n" for number in range(count))
        self.run_cli("pub", "alerts.new", "-", "--type", "SystemNotification", text=text)

    def settle_all(self):
        return len(self.run_cli("-o", "ndjson", "sub", "--group", "g", "--until-end").stdout.splitlines())

    def crash(self):
        self.broker.process.kill()
        self.broker.process.wait(PATIENCE)
        self.broker.start()

    def test_gives_settled_events_again_and_no_others(self):
        self.publish(3, "--key", "a")
        self.publish(2, "--key", "b", first=4)
        self.publish(1, first=6, topic="other")
        self.assertEqual(self.rest(), [(position, 1) for position in range(1, 6)])
        summary, err = self.replay("--from", "2")
        self.assertEqual((summary, err), ({"group": "g", "events": 4, "first": 2, "last": 5, "given": 4, "refused": 0, "codes": {}}, ""))
        self.assertEqual((self.group("g")["floor"], self.group("g")["open"]), (1, 4))
        self.assertEqual(self.rest(), [(position, 2) for position in range(2, 6)])
        self.assertEqual(self.replay("--key", "b", "--count", "1")[0]["given"], 1)
        self.assertEqual(self.rest(), [(4, 3)])
        self.assertEqual(self.group("g")["lag"], 0)

    def test_what_it_has_given_outlives_a_crash(self):
        self.publish(5)
        self.settle_all()
        self.assertEqual(self.replay("--from", "2", "--to", "4")[0]["given"], 3)
        self.crash()
        self.assertEqual((self.group("g")["floor"], self.group("g")["open"]), (1, 3))
        self.assertEqual([position for position, _ in self.rest()], [2, 3, 4])
        self.crash()
        self.assertEqual(self.rest(), [])

    def test_says_what_was_refused(self):
        self.publish(3)
        self.run_cli("sub", "--group", "g", "--count", "1", "--exec", "exit 65", expect=3)  # 1 is a dead letter
        self.settle_all()
        self.publish(2, first=4)
        self.publish(1, first=6, topic="other")
        summary, _ = self.replay("--topic", ">", expect=3)
        self.assertEqual((summary["events"], summary["given"], summary["refused"]), (6, 2, 4))
        self.assertEqual(summary["codes"], {"conflict": 1, "not_found": 3})
        self.assertEqual(self.replay("--to", "3", expect=3)[0]["codes"], {"conflict": 3}, "they are open since")
        self.assertEqual(sorted(self.rest()), [(2, 3), (3, 3), (4, 1), (5, 1)])

    def test_a_dry_run_counts_and_changes_nothing(self):
        self.publish(3)
        self.settle_all()
        summary, _ = self.replay("--from", "2", "--dry-run")
        self.assertEqual(summary, {"group": "g", "events": 2, "first": 2, "last": 3, "given": 0, "refused": 0, "codes": {}})
        self.assertEqual(self.rest(), [])
        summary, _ = self.replay("--key", "nobody")
        self.assertEqual((summary["events"], summary["first"], summary["given"]), (0, None, 0))

    def test_wrong_usage(self):
        self.publish(1)
        for words in [["--to-topic", "t"], ["--as", "p"], ["--from", "soon"]]:
            with self.subTest(words=words):
                self.assertEqual(self.run_cli("replay", "--to-group", "g", *words, expect=2).stdout, "")
        self.run_cli("replay", "--dry-run", expect=2)
        self.assertIn("nobody", self.run_cli("replay", "--to-group", "nobody", expect=4).stderr)

    def test_one_line_of_json(self):
        self.publish(1)
        self.settle_all()
        result = self.run_cli("-o", "ndjson", "replay", "--to-group", "g")
        self.assertEqual([line["given"] for line in lines(result)], [1])
        self.settle_all()
        self.assertEqual(self.run_cli("replay", "--to-group", "g").stdout,
                         "group:   g\nevents:  1\nfirst:   1\nlast:    1\ngiven:   1\nrefused: 0\ncodes:   {}\n")

    def test_a_group_takes_as_many_as_may_be_open_and_more_when_it_has_room(self):
        count = OPEN_MAX + 2000
        self.fill(count)
        self.assertEqual(self.settle_all(), count)
        summary, err = self.replay("--timeout", "1s", expect=3)
        self.assertEqual((summary["given"], summary["refused"]), (OPEN_MAX, 0))
        self.assertIn(f"--from {OPEN_MAX + 1} goes on", err)
        self.crash()
        self.assertEqual(self.group("g")["open"], OPEN_MAX)

        stopped = begin(self.broker, "replay", "--to-group", "g", "--from", str(OPEN_MAX + 1), "-o", "json")
        with self.assertRaises(subprocess.TimeoutExpired):
            stopped.wait(1)  # there is no room
        code, out, err = end(stopped, signal.SIGINT)
        self.assertEqual((code, json.loads(out)["given"]), (130, 0))
        self.assertIn(f"--from {OPEN_MAX + 1} goes on", err)

        cut = begin(self.broker, "replay", "--to-group", "g", "--from", str(OPEN_MAX + 1), "--timeout", "3s", "-o", "json")
        with self.assertRaises(subprocess.TimeoutExpired):
            cut.wait(1)
        self.broker.process.kill()
        code, out, err = end(cut)
        self.assertEqual((code, json.loads(out)["given"]), (7, 0))
        self.assertIn(f"--from {OPEN_MAX + 1} goes on", err)
        self.crash()

        waiting = begin(self.broker, "replay", "--to-group", "g", "--from", str(OPEN_MAX + 1), "-o", "json")
        member = begin(self.broker, "sub", "--group", "g", "--exec", "true", "-o", "ndjson")
        out, err = waiting.communicate(timeout=PATIENCE * 2)
        end(member, signal.SIGINT)
        self.assertEqual((waiting.returncode, json.loads(out)["given"]), (0, 2000), err)


if __name__ == "__main__":
    unittest.main()
