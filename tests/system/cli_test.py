"""Goal: bus-cli keeps the contract of docs/bus-cli.1, which scripts rely on: exit codes, what is on stdout, and what
is not.
Method: the real programs, $BUSD and $BUS_CLI, over a socket in a temporary directory."""

import json
import signal
import subprocess
import tempfile
import unittest

from broker_case import BUS_CLI, PATIENCE, FIELDS, TIME, Case, begin, command, end, environment, lines, notification, read_line, run, wait_until


class Usage(unittest.TestCase):
    """What needs no broker."""

    def cli(self, *words, expect):
        result = subprocess.run([BUS_CLI, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, env=environment())
        self.assertEqual(result.returncode, expect, result.stdout + result.stderr)
        return result

    def test_tells_its_version(self):
        self.assertRegex(self.cli("--version", expect=0).stdout, r"bus-cli \d+\.\d+")

    def test_suggests_the_nearest_verb(self):
        for words, verb in [(["pbu"], "pub"), (["replya"], "replay"), (["topic", "lst"], "topic ls"), (["-o", "json", "grop", "ls"], "group")]:
            result = self.cli(*words, expect=2)
            self.assertIn(f"'{verb}'", result.stderr)
            self.assertEqual(result.stdout, "")

    def test_says_that_nobody_listens_there(self):
        self.assertIn("no connection to ipc:///nobody/there", self.cli("-s", "ipc:///nobody/there", "--timeout", "1s", "status", expect=7).stderr)

    def test_wrong_usage_ends_with_2(self):
        for words in [[], ["topic"], ["topic", "info"], ["sub"], ["pub"], ["-o", "xml", "topic", "ls"], ["--timeout", "5", "status"], ["--bogus", "status"],
                      ["replay", "--from", "0"], ["replay", "--to", "yesterday"], ["replay", "--since", "12"], ["replay", "--count", "0"],
                      ["group", "seek", "g", "@1h"], ["sub", ">", "-o", "json"], ["import", "csv", "x.csv"]]:
            with self.subTest(words=words):
                self.assertEqual(self.cli(*words, expect=2).stdout, "")

    def test_every_help_has_an_example(self):
        for words in [[], ["pub"], ["sub"], ["replay"], ["import"], ["import", "csv"], ["topic"], ["topic", "ls"], ["topic", "info"], ["group"],
                      ["group", "ls"], ["group", "info"], ["group", "seek"], ["group", "rm"], ["event"], ["event", "get"], ["event", "lineage"], ["schema"],
                      ["schema", "ls"], ["schema", "show"], ["status"], ["log"], ["log", "stat"], ["log", "verify"], ["log", "repair"], ["log", "salvage"],
                      ["backup"], ["backup", "create"], ["backup", "ls"], ["backup", "verify"], ["restore"], ["bench"],
                      ["bench", "pub"], ["bench", "sub"], ["bench", "e2e"], ["bench", "replay"], ["bench", "each"], ["bench", "fanout"]]:
            with self.subTest(words=words):
                self.assertIn("Example:\n  bus-cli ", self.cli(*words, "--help", expect=0).stdout)

    def test_no_broker_ends_with_7(self):
        with tempfile.TemporaryDirectory() as directory:
            result = self.cli("-s", f"ipc://{directory}/none.sock", "--timeout", "100ms", "topic", "ls", expect=7)
            self.assertIn("none.sock", result.stderr)

    def test_no_log_ends_with_4(self):
        with tempfile.TemporaryDirectory() as directory:
            self.cli("log", "verify", "--data", directory, expect=4)


class Publishing(Case):
    def test_prints_receipts_in_order(self):
        receipts = self.publish(100, "--key-field", "notification_id")
        self.assertEqual([receipt["position"] for receipt in receipts], list(range(1, 101)))
        self.assertEqual(list(receipts[0].items()),
                         [("position", 1), ("topic", "alerts.new"), ("key", "n-1"), ("version", 1), ("duplicate_of", None)])

    def test_takes_a_payload_from_the_command_line_and_from_a_file(self):
        one = self.run_cli("-o", "json", "pub", "a.b", notification(1), "--type", "suoke.realtime.SystemNotification", "--key", "k")
        self.assertEqual(json.loads(one.stdout)["version"], 1)
        path = self.path("payload.json", json.dumps(json.loads(notification(2)), indent=2))
        two = self.run_cli("-o", "json", "pub", "a.b", "@" + path, "--key", "k")  # the type is the topic's
        self.assertEqual(json.loads(two.stdout)["version"], 2)

    def test_answers_each_line_before_the_input_ends(self):
        process = subprocess.Popen(command(self.broker, "-o", "ndjson", "pub", "a.b", "-", "--type", "SystemNotification"),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in (1, 2, 3):
            process.stdin.write(notification(number).encode() + b"\n")
            process.stdin.flush()
            self.assertEqual(json.loads(read_line(process))["position"], number)
        self.assertEqual(end(process)[0], 0)

    def test_ends_when_another_publishes_under_its_name(self):
        publish = ["pub", "a.b", "-", "--type", "SystemNotification", "--publisher", "p"]
        process = subprocess.Popen(command(self.broker, "-o", "ndjson", *publish), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdin.write(notification(1).encode() + b"\n")
        process.stdin.flush()
        read_line(process)
        self.run_cli(*publish, text=notification(2))
        out, err = process.communicate(notification(3).encode() + b"\n", timeout=PATIENCE)
        self.assertEqual((process.returncode, out), (5, b""))
        self.assertIn("publisher_fenced", err.decode())

    def test_tells_partial_from_total_refusal(self):
        some = self.run_cli("-o", "ndjson", "pub", "a.b", "-", "--type", "SystemNotification",
                            text=notification(1) + "\n{\"title\": 1}\n" + notification(3) + "\n", expect=3)
        self.assertEqual([receipt["position"] for receipt in lines(some)], [1, 2])
        self.assertIn("line 2", some.stderr)
        self.run_cli("pub", "a.b", "{\"no\": 1}", expect=1)
        self.run_cli("pub", "a.b", notification(1), "--type", "NoSuchType", expect=4)
        self.run_cli("pub", "a..b", notification(1), "--type", "SystemNotification", expect=1)
        self.run_cli("pub", "new.topic", notification(1), expect=2)  # no type, and nothing to take it from

    def test_stores_full_events_again_as_they_were(self):
        self.publish(3, "--key-field", "notification_id", "--attr", "tenant=a", "--attr", "x=a=b", "--priority", "high", "--time",
                     "2024-06-13T08:05:00.123456789+08:00", "--correlation-id", "c", "--source", "gateway")
        before = self.run_cli("-o", "ndjson", "replay")
        self.run_cli("pub", "--events", "-", text=before.stdout)
        after = lines(self.run_cli("-o", "ndjson", "replay", "--from", "4"))
        self.assertEqual(len(after), 3)
        of_the_log = {"position", "version", "committed_at", "publisher", "sequence"}
        for old, new in zip(lines(before), after):
            self.assertEqual({k: v for k, v in old.items() if k not in of_the_log}, {k: v for k, v in new.items() if k not in of_the_log})
            self.assertEqual(new["version"], old["version"] + 1)


class Reading(Case):
    def test_prints_all_fields_in_their_order(self):
        self.publish(1, "--key", "k", "--attr", "a=b")
        event = lines(self.run_cli("-o", "ndjson", "replay"))[0]
        self.assertEqual(list(event), FIELDS)
        self.assertRegex(event["time"], TIME)
        self.assertRegex(event["committed_at"], TIME)
        self.assertEqual(event["type"], "suoke.realtime.SystemNotification")
        self.assertEqual((event["key"], event["version"], event["priority"], event["attributes"]), ("k", 1, "medium", {"a": "b"}))
        self.assertEqual(event["payload"]["severity"], "info")  # a default, written out, by name
        self.assertEqual(json.loads(self.run_cli("event", "get", "1", "-o", "json").stdout), event)
        self.assertEqual(json.loads(self.run_cli("replay", "-o", "json").stdout), [event])

    def positions(self, *words):
        return [event["position"] for event in lines(self.run_cli("-o", "ndjson", "replay", *words))]

    def test_understands_positions(self):
        self.publish(10)
        middle = lines(self.run_cli("-o", "ndjson", "event", "get", "5"))[0]["committed_at"]
        self.publish(2, first=11)
        same = [event["position"] for event in lines(self.run_cli("-o", "ndjson", "replay")) if event["committed_at"] == middle]
        for words, expected in [([], range(1, 13)), (["--from", "start", "--to", "end"], range(1, 13)), (["--from", "4", "--to", "6"], range(4, 7)),
                                (["--from", "-3"], range(10, 13)), (["--from", "-100"], range(1, 13)), (["--from", "end"], []),
                                (["--to", "-11"], range(1, 3)), (["--to", "start"], range(1, 2)), (["--to", "1000"], range(1, 13)),
                                (["--from", "13"], []), (["--from", "@" + middle, "--to", "@" + middle], same),
                                (["--from", "@-1h"], range(1, 13)), (["--to", "@-1h"], []),
                                (["--from", "2", "--count", "3"], range(2, 5))]:
            with self.subTest(words=words):
                self.assertEqual(self.positions(*words), list(expected))
        self.run_cli("replay", "--from", "14", expect=4)

    def test_filters(self):
        self.publish(2, "--key", "a", "--time", "2024-01-01", topic="x.one")
        self.publish(2, "--key", "b", "--time", "2024-01-03", first=3, topic="x.two.deep")
        for words, expected in [(["--topic", "x.*"], [1, 2]), (["--topic", "x.>"], [1, 2, 3, 4]), (["--key", "b"], [3, 4]),
                                (["--type", "SystemNotification"], [1, 2, 3, 4]), (["--since", "2024-01-02"], [3, 4]),
                                (["--until", "2024-01-01"], [1, 2]), (["--since", "2024-01-01", "--until", "2024-01-01T00:00:00Z"], [1, 2]),
                                (["--topic", "x.one", "--topic", "x.two.*"], [1, 2, 3, 4])]:
            with self.subTest(words=words):
                self.assertEqual(self.positions(*words), expected)
        self.run_cli("replay", "--topic", "x..y", expect=2)
        self.run_cli("replay", "--type", "Nothing", expect=4)

    def test_what_is_not_there_ends_with_4(self):
        for words in [["event", "get", "1"], ["topic", "info", "none"], ["group", "info", "none"], ["group", "rm", "none"],
                      ["group", "seek", "none", "start"], ["schema", "show", "None"]]:
            with self.subTest(words=words):
                self.assertEqual(self.run_cli(*words, expect=4).stdout, "")

    def test_a_closed_pipe_ends_silently(self):
        self.publish(2000)
        for words in [["replay", "-o", "ndjson"], ["sub", ">", "--from", "start", "-o", "ndjson"], ["sub", ">", "--group", "g"]]:
            with self.subTest(words=words):
                process = begin(self.broker, *words)
                self.assertTrue(read_line(process))
                process.stdout.close()
                process.wait(PATIENCE)
                self.assertEqual((process.returncode, process.stderr.read()), (0, b""))
                process.stderr.close()

    def test_a_pipe_that_closes_while_nothing_comes_ends_silently(self):
        process = begin(self.broker, "sub", ">")
        wait_until(lambda: json.loads(self.run_cli("status", "-o", "json").stdout)["subscriptions"] == 1)
        process.stdout.close()
        self.assertEqual(process.wait(PATIENCE), 0)
        process.stderr.close()


class Subscribing(Case):
    def test_a_new_group_begins_at_the_start_and_goes_on_where_it_was(self):
        self.publish(5)
        first = lines(self.run_cli("-o", "ndjson", "sub", "alerts.>", "--group", "g", "--count", "2"))
        self.assertEqual(list(first[0]), FIELDS + ["group", "attempt"])
        self.assertEqual([(event["position"], event["group"], event["attempt"]) for event in first], [(1, "g", 1), (2, "g", 1)])
        rest = lines(self.run_cli("-o", "ndjson", "sub", "alerts.>", "--group", "g", "--until-end"))
        self.assertEqual([event["position"] for event in rest], [3, 4, 5])
        group = self.group("g")
        self.assertEqual((group["lag"], group["acked"], group["open"]), (0, 5, 0))

    def test_another_filter_or_start_is_a_conflict(self):
        self.publish(1)
        self.run_cli("sub", "alerts.>", "--group", "g", "--until-end")
        self.assertIn("group_mismatch", self.run_cli("sub", "other.>", "--group", "g", expect=5).stderr)
        self.run_cli("sub", "alerts.>", "--group", "g", "--from", "start", expect=5)
        self.run_cli("sub", "alerts.>", "--group", "g", "--until-end")

    def test_peek_changes_nothing(self):
        self.publish(3)
        self.run_cli("sub", "alerts.>", "--group", "g", "--count", "1")
        before = self.group("g")
        peeked = lines(self.run_cli("-o", "ndjson", "sub", "--group", "g", "--peek", "--until-end"))
        self.assertEqual([event["position"] for event in peeked], [2, 3])
        self.assertEqual(list(peeked[0]), FIELDS)
        self.assertEqual(self.group("g"), before)

    def test_ends_when_idle(self):
        self.publish(2)
        events = json.loads(self.run_cli("-o", "json", "sub", ">", "--from", "start", "--idle-exit", "100ms").stdout)
        self.assertEqual([event["position"] for event in events], [1, 2])
        self.assertEqual(json.loads(self.run_cli("-o", "json", "sub", ">", "--idle-exit", "10ms").stdout), [])

    def test_without_a_group_it_begins_at_the_end(self):
        self.publish(1)
        process = begin(self.broker, "-o", "ndjson", "sub", ">", "--count", "1")
        wait_until(lambda: json.loads(self.run_cli("status", "-o", "json").stdout)["subscriptions"] == 1)
        self.publish(1, first=2)
        self.assertEqual(json.loads(read_line(process))["position"], 2)
        self.assertEqual(end(process)[0], 0)

    def test_exec_acknowledges_what_the_command_did(self):
        self.publish(3)
        out = self.path("seen")
        self.run_cli("sub", "alerts.>", "--group", "g", "--until-end", "--exec", f"cat >> {out}")
        with open(out, encoding="utf-8") as file:
            self.assertEqual([json.loads(line)["position"] for line in file], [1, 2, 3])
        self.assertEqual(self.group("g")["acked"], 3)

    def test_exec_gives_back_what_the_command_failed_for(self):
        self.publish(1)
        self.run_cli("sub", "alerts.>", "--group", "g", "--count", "1", "--exec", "exit 9", expect=3)
        self.assertEqual(self.group("g")["acked"], 0)
        flag = self.path("flag")
        again = self.run_cli("sub", "alerts.>", "--group", "g", "--until-end", "--exec",
                             f"cat; test -e {flag} || {{ touch {flag}; exit 1; }}")
        self.assertEqual([event["attempt"] for event in lines(again)], [2, 3])
        self.assertEqual(self.group("g")["acked"], 1)

    def test_sigint_closes_cleanly(self):
        self.publish(1)
        process = begin(self.broker, "-o", "ndjson", "sub", ">", "--group", "g")
        self.assertEqual(json.loads(read_line(process))["position"], 1)
        code, _, err = end(process, signal.SIGINT)
        self.assertEqual((code, err), (130, ""))
        group = self.group("g")  # the member said good-bye
        self.assertEqual((group["acked"], group["members"], group["open"]), (1, 0, 0))

    def test_a_removed_group_ends_its_members(self):
        self.publish(1)
        process = begin(self.broker, "-o", "ndjson", "sub", ">", "--group", "g")
        read_line(process)
        self.run_cli("group", "rm", "g", "--yes")
        code, _, err = end(process)
        self.assertEqual(code, 5)
        self.assertIn("group_removed", err)

    def test_seek_moves_a_group(self):
        self.publish(5)
        self.run_cli("sub", ">", "--group", "g", "--until-end")
        moved = json.loads(self.run_cli("group", "seek", "g", "-2", "-o", "json").stdout)
        self.assertEqual((moved["floor_before"], moved["floor"]), (5, 3))
        events = lines(self.run_cli("-o", "ndjson", "sub", ">", "--group", "g", "--until-end"))
        self.assertEqual([event["position"] for event in events], [4, 5])


if __name__ == "__main__":
    unittest.main(verbosity=2)
