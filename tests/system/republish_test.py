"""Goal: `replay --to-topic` publishes each event of a range once more, exactly once, however often it is killed and run again, and
each copy names its origin.
Method: as in cli_test.py; the tool is killed with SIGKILL while it publishes."""

import json
import signal
import unittest

from broker_case import PATIENCE, Case, begin, end, lines, notification, wait_until


class Republish(Case):
    def replay(self, *words, expect=0):
        result = self.run_cli("replay", *words, "-o", "json", expect=expect)
        return json.loads(result.stdout), result.stderr

    def copies(self, topic="again"):
        return lines(self.run_cli("-o", "ndjson", "replay", "--topic", topic))

    def origins(self, topic="again"):
        return [int(copy["attributes"]["origin_position"]) for copy in self.copies(topic)]

    def head(self):
        return json.loads(self.run_cli("status", "-o", "json").stdout)["committed"]

    def test_a_copy_is_a_new_event_that_names_its_origin(self):
        self.publish(1, "--key", "k", "--attr", "a=b", "--attr", "origin_id=old", "--priority", "high", "--time", "2024-06-13T08:05:00Z",
                     "--correlation-id", "c", "--causation-id", "before", "--subject", "ana", "--source", "gateway", "--expires-after", "1h")
        summary, _ = self.replay("--to-topic", "again")
        self.assertEqual((summary["events"], summary["published"], summary["duplicates"], summary["refused"], summary["first"], summary["last"]),
                         (1, 1, 0, 0, 1, 1))
        origin, copy = lines(self.run_cli("-o", "ndjson", "replay"))
        self.assertNotEqual(copy["id"], origin["id"])
        self.assertEqual(copy["causation_id"], origin["id"])
        self.assertEqual((copy["topic"], copy["version"], copy["publisher"], copy["sequence"]), ("again", 2, summary["publisher"], 1))
        for field in ["type", "key", "source", "time", "priority", "correlation_id", "payload"]:
            self.assertEqual(copy[field], origin[field], field)
        log = json.loads(self.run_cli("status", "-o", "json").stdout)["log_id"]
        self.assertEqual(copy["attributes"], {"a": "b", "origin_position": "1", "origin_topic": "alerts.new", "origin_id": origin["id"], "origin_log": log})
        self.assertIn("expires_at", origin)
        self.assertNotIn("expires_at", copy)
        # Causation leads from the copy to its origin.
        self.assertEqual([row["position"] for row in lines(self.run_cli("event", "lineage", "2", "-o", "ndjson"))], [1, 2])

    def test_an_event_that_was_scheduled_is_copied_at_once(self):
        self.run_cli("pub", "a.b", notification(1), "--type", "SystemNotification", "--after", "1h", "--publisher", "p")
        self.run_cli("schedule", "run-now", "p/1")
        self.assertEqual(self.replay("--to-topic", "again")[0]["published"], 1)
        self.assertNotIn("deliver_at", self.copies()[0])

    def test_run_again_it_stores_nothing_twice_and_goes_on_with_what_is_new(self):
        self.publish(5)
        first, _ = self.replay("--to-topic", "again")
        again, _ = self.replay("--to-topic", "again", "--from", "1")  # the same begin
        self.assertEqual((again["published"], again["duplicates"], again["publisher"]), (0, 5, first["publisher"]))
        self.publish(2, first=6)  # at 11 and 12
        more, err = self.replay("--to-topic", "again")
        self.assertEqual((more["published"], more["duplicates"]), (2, 5))
        self.assertIn("5 events", err)  # copies themselves
        self.assertEqual(self.origins(), [1, 2, 3, 4, 5, 11, 12])

    def test_killed_and_run_again_it_stores_each_once(self):
        count = 60_000
        text = "".join(notification(number) + "\n" for number in range(count))
        self.run_cli("pub", "alerts.new", "-", "--type", "SystemNotification", text=text)
        kills = 0
        for part in (1, 3):
            process = begin(self.broker, "replay", "--topic", "alerts.*", "--to-topic", "again")
            wait_until(lambda: self.head() >= count + part * count // 8 or process.poll() is not None)
            process.send_signal(signal.SIGKILL)
            kills += process.wait(PATIENCE) == -signal.SIGKILL
            process.stdout.close()
            process.stderr.close()
        self.assertGreater(kills, 0)
        summary, _ = self.replay("--topic", "alerts.*", "--to-topic", "again")
        self.assertEqual((summary["events"], summary["published"] + summary["duplicates"]), (count, count))
        self.assertGreater(summary["duplicates"], 0)
        self.assertGreater(summary["published"], 0)
        self.assertEqual(self.origins(), list(range(1, count + 1)))

    def test_interrupted_it_ends_cleanly_and_says_how_far_it_came(self):
        count = 60_000
        text = "".join(notification(number) + "\n" for number in range(count))
        self.run_cli("pub", "alerts.new", "-", "--type", "SystemNotification", text=text)
        process = begin(self.broker, "replay", "--to-topic", "again", "-o", "json")
        wait_until(lambda: self.head() >= count + count // 8 or process.poll() is not None)
        code, out, err = end(process, signal.SIGINT)
        self.assertEqual((code, err), (130, ""))
        summary = json.loads(out)
        self.assertEqual(self.origins(), list(range(1, summary["published"] + 1)))
        self.assertLess(summary["published"], count)

    def test_goes_on_while_the_broker_restarts(self):
        count = 60_000
        text = "".join(notification(number) + "\n" for number in range(count))
        self.run_cli("pub", "alerts.new", "-", "--type", "SystemNotification", text=text)
        process = begin(self.broker, "replay", "--to-topic", "again", "-o", "json")
        wait_until(lambda: self.head() >= count + count // 8 or process.poll() is not None)
        self.broker.process.kill()
        self.broker.process.wait(PATIENCE)
        self.assertIsNone(process.poll(), "it was over before")
        self.broker.start()
        out, err = process.communicate(timeout=PATIENCE * 2)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(json.loads(out)["events"], count)
        self.assertEqual(self.origins(), list(range(1, count + 1)))

    def test_takes_the_part_of_the_log_that_is_asked_for(self):
        self.publish(3, "--key", "a")
        self.publish(3, "--key", "b", first=4)
        self.assertEqual(self.replay("--to-topic", "one", "--key", "b", "--from", "2", "--to", "5")[0]["published"], 2)
        self.assertEqual(self.origins("one"), [4, 5])
        self.assertEqual(self.replay("--to-topic", "two", "--to", "6", "--count", "2")[0]["published"], 2)
        self.assertEqual(self.replay("--to-topic", "two", "--to", "6", "--count", "4")[0]["published"], 2)
        self.assertEqual(self.origins("two"), [1, 2, 3, 4])

    def test_events_of_the_topic_itself_are_left_out(self):
        self.publish(2)
        for _ in range(3):
            summary, err = self.replay("--to-topic", "alerts.new")
            self.assertEqual((summary["events"], summary["published"]), (0, 0))
            self.assertIn("alerts.new itself: 2 events", err)
        self.assertEqual(self.head(), 2)

    def test_another_range_under_the_same_name_is_a_conflict(self):
        self.publish(6)
        self.replay("--to-topic", "again", "--as", "copier", "--to", "4")
        for words in [("--from", "2", "--to", "6"), ("--from", "3", "--to", "4")]:
            with self.subTest(words=words):
                err = self.run_cli("replay", "--to-topic", "again", "--as", "copier", *words, expect=5).stderr
                self.assertIn("'copier' has published something else", err)
        self.run_cli("replay", "--to-topic", "elsewhere", "--as", "copier", "--to", "4", expect=5)
        self.publish(1, "--publisher", "service", first=7)
        self.run_cli("replay", "--to-topic", "again", "--as", "service", "--to", "4", expect=5)
        self.assertEqual(self.origins(), [1, 2, 3, 4])
        self.assertEqual(self.replay("--to-topic", "again", "--as", "copier", "--to", "6")[0]["published"], 2)

    def test_what_was_refused_is_told_and_the_rest_is_stored(self):
        self.publish(1, *[word for number in range(64) for word in ("--attr", f"a{number}=x")])  # has no room for the origin
        self.publish(1, first=2)
        summary, err = self.replay("--to-topic", "again", expect=3)
        self.assertEqual((summary["published"], summary["refused"]), (1, 1))
        self.assertIn("position 1: bad_event", err)
        summary, _ = self.replay("--to-topic", "again", "--to", "2")
        self.assertEqual((summary["published"], summary["duplicates"]), (0, 2))
        self.assertEqual(self.origins(), [2])

    def test_a_dry_run_publishes_nothing(self):
        self.publish(5)
        summary, _ = self.replay("--to-topic", "again", "--from", "-3", "--dry-run")
        self.assertEqual((summary["events"], summary["published"], summary["first"], summary["last"]), (3, 0, 3, 5))
        self.assertEqual(self.head(), 5)

    def test_its_name_is_that_of_topic_begin_and_filter(self):
        self.publish(5)
        name = self.replay("--to-topic", "again", "--topic", "a.>", "--topic", "b", "--dry-run")[0]["publisher"]
        for words in [("--topic", "b", "--topic", "a.>"), ("--topic", "a.>", "--topic", "b", "--from", "start", "--to", "3", "--count", "1")]:
            self.assertEqual(self.replay("--to-topic", "again", "--dry-run", *words)[0]["publisher"], name)
        for words in [("--topic", "a.>"), ("--topic", "a.>", "--topic", "b", "--from", "2"), ("--topic", "a.>", "--topic", "b", "--key", "k")]:
            self.assertNotEqual(self.replay("--to-topic", "again", "--dry-run", *words)[0]["publisher"], name)
        self.assertEqual(self.replay("--to-topic", "again", "--topic", "a.>", "--topic", "b")[0]["publisher"], name)

    def test_wrong_usage_publishes_nothing(self):
        self.publish(2)
        for words, reason in [(("--to-topic", "a..b"), "--to-topic"), (("--to-topic", "a.*"), "is a pattern"), (("--to-topic", "a.>"), "is a pattern"),
                              (("--to-topic", "again", "--from", "-1"), "--dry-run"), (("--to-topic", "again", "--from", "@-1h"), "--dry-run"),
                              (("--to-topic", "again", "--since", "-1h"), "--dry-run"), (("--to-topic", "again", "--from", "end"), "--dry-run"),
                              (("--as", "name"), "--to-topic"), (("--dry-run",), "--to-topic"),
                              (("--to-topic", "again", "--as", "x" * 200), "bad_publisher")]:
            with self.subTest(words=words):
                result = self.run_cli("replay", *words, expect=2)
                self.assertEqual(result.stdout, "")
                self.assertIn(reason, result.stderr)
        self.assertEqual(self.head(), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
