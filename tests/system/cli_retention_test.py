"""Goal: an operator says how long events are kept, sees beforehand what that removes, and can hold events back.
Method: as in cli_test.py."""

import json
import os
import unittest

from broker_case import Case, lines, notification


class Retention(Case):
    def publish(self, topic, count, key="k"):
        for _ in range(count):
            self.run_cli("pub", topic, notification(1), "--type", "SystemNotification", "--key", key)

    def json_of(self, *words, expect=0):
        return json.loads(self.run_cli(*words, "-o", "json", expect=expect).stdout)

    def left(self):
        return [event["position"] for event in lines(self.run_cli("replay", "-o", "ndjson"))]

    def test_a_policy_is_tried_set_run_and_removed(self):
        self.publish("a", 5)
        self.publish("b", 2)
        tried = self.json_of("retention", "set", "a", "--max-events", "2", "--dry-run")
        self.assertTrue(tried["dry_run"])
        self.assertEqual(tried["results"][0]["events"], 3)
        self.assertEqual(self.json_of("retention", "ls"), [])
        self.assertEqual(len(self.left()), 7)
        policy = self.json_of("retention", "set", "a", "--max-events", "2", "--max-bytes", "10GiB", "--max-age", "1.5h")
        self.assertEqual((policy["max_events"], policy["max_bytes"], policy["max_age_ms"]), (2, 10 << 30, 5_400_000))
        self.run_cli("retention", "run")
        self.assertEqual(self.left(), [4, 5, 6, 7])
        listed = self.json_of("retention", "ls")[0]
        self.assertEqual((listed["events"], listed["removed_events"], listed["first"]), (2, 3, 4))
        self.assertEqual(self.run_cli("retention", "ls").stdout.split("\t")[1], f"90m, {10 << 30} bytes, 2 events")
        topic = self.json_of("topic", "info", "a")
        self.assertEqual((topic["events"], topic["removed_events"], topic["retention"]), (2, 3, "a"))
        self.assertIn("3 events of these removed by retention", self.run_cli("log", "verify").stdout)
        self.assertIn("which retention has removed", self.run_cli("replay").stderr)
        self.assertIn("the last of them version 3", self.run_cli("key", "show", "k").stderr)
        self.run_cli("event", "get", "1", expect=4)
        self.assertFalse(self.json_of("retention", "status")["running"])
        self.run_cli("retention", "rm", "a")
        self.run_cli("retention", "rm", "a", expect=4)

    def test_a_hold_goes_before_policies(self):
        self.publish("a", 3, "k1")
        self.publish("a", 3, "k2")
        self.run_cli("retention", "hold", ">", "--key", "k1", "--reason", "case 4711")
        self.run_cli("retention", "set", "a", "--max-events", "1")
        ran = self.json_of("retention", "run")
        self.assertEqual(self.left(), [1, 2, 3, 6])
        self.assertEqual(ran["results"][0]["held"], 3)
        self.assertEqual(self.json_of("retention", "holds")[0]["reason"], "case 4711")
        self.run_cli("retention", "release", ">", "--yes", expect=4)
        self.run_cli("retention", "release", ">", "--key", "k1", "--yes")
        self.run_cli("retention", "run")
        self.assertEqual(self.left(), [6])

    def test_what_is_kept_for_a_group_is_named(self):
        self.publish("a", 3)
        self.run_cli("group", "create", "slow", "--topic", "a")
        ran = self.json_of("retention", "set", "a", "--max-events", "1", "--dry-run")
        self.assertEqual((ran["results"][0]["kept_for_groups"], ran["results"][0]["group"]), (2, "slow"))
        ran = self.json_of("retention", "set", "a", "--max-events", "1", "--past-groups", "--dry-run")
        self.assertEqual((ran["results"][0]["events"], ran["results"][0]["kept_for_groups"]), (2, 0))

    def test_bad_input_is_refused(self):
        self.run_cli("retention", "set", "a..b", "--max-events", "1", expect=2)
        self.run_cli("retention", "set", "a", "--max-bytes", "10GB", expect=2)
        self.run_cli("retention", "set", "a", "--max-bytes", "99999999TiB", expect=2)
        self.run_cli("retention", "set", "a", "--latest-after", "1h", expect=2)
        self.run_cli("retention", "set", "a", "--max-age", "36501d", expect=2)
        self.run_cli("retention", "hold", "a", expect=2)
        self.assertEqual(self.json_of("retention", "ls"), [])

    def test_a_log_is_compacted_while_it_is_used_and_taken_at_the_next_start(self):
        big = json.dumps({"notification_id": "n", "title": "x" * 20_000})
        for _ in range(40):
            self.run_cli("pub", "a", big, "--type", "SystemNotification")
        self.run_cli("retention", "set", "a", "--max-events", "3")
        self.run_cli("retention", "run")
        text = self.run_cli("log", "compact", "--data", self.broker.data).stdout
        self.assertRegex(text, r"^the copy has \d+ bytes, the log uses \d+: busd takes the copy at its next start\n$")
        made = self.json_of("log", "compact", "--data", self.broker.data)
        self.assertLess(made["bytes"], made["log_bytes"] / 2)
        self.publish("b", 2)
        self.run_cli("retention", "set", "a", "--max-events", "1")
        self.run_cli("retention", "run")
        self.assertEqual(self.left(), [40, 41, 42])
        head = self.json_of("log", "verify")["head"]
        self.broker.stop()
        self.broker.start()
        self.assertEqual(self.json_of("log", "verify", "--from-head", head)["head"], head)
        self.assertEqual(self.left(), [40, 41, 42])
        self.publish("b", 1)
        self.assertEqual(sorted(os.listdir(self.broker.data)), ["lock", "log", "log.compact.lock"])
        with open(os.path.join(self.directory, "busd.log"), encoding="utf-8") as log:
            self.assertIn("the compacted copy has taken the place of the log", log.read())
        self.run_cli("log", "compact", "--data", self.broker.data)
        self.assertTrue(self.json_of("log", "compact", "--data", self.broker.data, "--discard")["discarded"])
        self.assertEqual(self.run_cli("log", "compact", "--data", self.broker.data, "--discard").stdout, "there is no copy\n")
        self.assertIn("there is no log in", self.run_cli("log", "compact", "--data", self.directory, expect=4).stderr)


if __name__ == "__main__":
    unittest.main()
