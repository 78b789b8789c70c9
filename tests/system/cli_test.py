"""Goal: bus-cli keeps the contract of docs/bus-cli.1, which scripts rely on: exit codes, what is on stdout, and what
is not.
Method: the real programs, $BUSD and $BUS_CLI, over a socket in a temporary directory. Nothing sleeps: what is waited
for is a line, an end, or a state that the broker reports."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BUSD = os.environ["BUSD"]
BUS_CLI = os.environ["BUS_CLI"]
PATIENCE = float(os.environ.get("TEST_PATIENCE", "30"))

FIELDS = ["position", "id", "topic", "type", "source", "key", "version", "time", "committed_at", "priority", "publisher",
          "sequence", "correlation_id", "causation_id", "traceparent", "attributes", "payload"]
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")

MAP = """
type = "suoke.health.HealthDataUpdate"
topic = "health.data.updated"
key = "{Id}"
[time]
column = "When"
formats = ["M/D/YYYY H:mm"]
timezone = "UTC"
[[fields]]
path = "record_id"
template = "{Id}/{@time}"
[[fields]]
path = "user_id"
column = "Id"
convert = "text"
[[fields]]
path = "data_type"
constant = "steps"
[[fields]]
path = "value.number"
column = "Steps"
convert = "number"
"""


def notification(number):
    return json.dumps({"notification_id": f"n-{number}", "title": f"title {number}"})


class Broker:
    """One busd on a directory of its own."""

    def __init__(self, directory):
        self.data = os.path.join(directory, "data")
        self.endpoint = "ipc://" + os.path.join(directory, "bus.sock")
        self.log = open(os.path.join(directory, "busd.log"), "ab")
        self.process = None

    def start(self):
        self.process = subprocess.Popen([BUSD, "--data", self.data, "--listen", self.endpoint], stderr=self.log)
        result = run(self, "status", "--wait", "--timeout", f"{int(PATIENCE)}s")
        assert result.returncode == 0, result.stderr

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None

    def close(self):
        self.stop()
        self.log.close()


def command(broker, *words):
    return [BUS_CLI, "-s", broker.endpoint, *words]


def environment():
    return {name: value for name, value in os.environ.items() if name != "BUS_SERVER"}


def run(broker, *words, text="", expect=None):
    result = subprocess.run(command(broker, *words), input=text, capture_output=True, text=True, timeout=PATIENCE * 2, env=environment())
    if expect is not None and result.returncode != expect:
        raise AssertionError(f"{words} ended with {result.returncode}, not {expect}: {result.stdout}{result.stderr}")
    return result


def begin(broker, *words):
    return subprocess.Popen(command(broker, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=environment())


def read_line(process):
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    if not ready:
        raise AssertionError("no line came")
    return process.stdout.readline().decode()


def end(process, signal_number=None):
    if signal_number is not None:
        process.send_signal(signal_number)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the condition never came true")


class Case(unittest.TestCase):
    """With a broker of its own, so that positions are known."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="bus-cli-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.broker = Broker(self.directory)
        self.addCleanup(self.broker.close)
        self.broker.start()

    def run_cli(self, *words, text="", expect=0):
        return run(self.broker, *words, text=text, expect=expect)

    def path(self, name, content=None):
        path = os.path.join(self.directory, name)
        if content is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
        return path

    def publish(self, count, *words, first=1, topic="alerts.new"):
        text = "".join(notification(number) + "\n" for number in range(first, first + count))
        return lines(self.run_cli("-o", "ndjson", "pub", topic, "-", "--type", "SystemNotification", *words, text=text))

    def group(self, name):
        return json.loads(self.run_cli("group", "info", name, "-o", "json").stdout)


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

    def test_wrong_usage_ends_with_2(self):
        for words in [[], ["topic"], ["topic", "info"], ["sub"], ["pub"], ["-o", "xml", "topic", "ls"], ["--timeout", "5", "status"], ["--bogus", "status"],
                      ["replay", "--from", "0"], ["replay", "--to", "yesterday"], ["replay", "--since", "12"], ["replay", "--count", "0"],
                      ["group", "seek", "g", "@1h"], ["sub", ">", "-o", "json"], ["import", "csv", "x.csv"]]:
            with self.subTest(words=words):
                self.assertEqual(self.cli(*words, expect=2).stdout, "")

    def test_every_help_has_an_example(self):
        for words in [[], ["pub"], ["sub"], ["replay"], ["import"], ["import", "csv"], ["topic"], ["topic", "ls"], ["topic", "info"], ["group"],
                      ["group", "ls"], ["group", "info"], ["group", "seek"], ["group", "rm"], ["event"], ["event", "get"], ["schema"],
                      ["schema", "ls"], ["schema", "show"], ["status"], ["log"], ["log", "stat"], ["log", "verify"], ["bench"],
                      ["bench", "pub"], ["bench", "sub"], ["bench", "e2e"], ["bench", "replay"]]:
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


class Importing(Case):
    CSV = "Id,When,Steps\nu1,4/12/2016 0:00,373\nu2,4/12/2016 1:00,x\nu1,4/12/2016 2:00,151.5\nu2,13/12/2016 3:00,1\n"

    def setUp(self):
        super().setUp()
        self.csv = self.path("steps.csv", self.CSV)
        self.map = self.path("map.toml", MAP)

    def import_csv(self, *words, expect):
        result = self.run_cli("import", "csv", self.csv, "--map", self.map, *words, expect=expect)
        return json.loads(result.stdout), result.stderr

    def test_stores_good_rows_once_and_names_the_bad_ones(self):
        summary, err = self.import_csv(expect=3)
        self.assertEqual(summary, {"rows": 4, "published": 2, "duplicates": 0, "bad": 2})
        self.assertRegex(err, r"line 3: .*'x'")
        self.assertIn("line 5: ", err)
        summary, _ = self.import_csv(expect=3)
        self.assertEqual(summary, {"rows": 4, "published": 0, "duplicates": 2, "bad": 2})
        events = lines(self.run_cli("replay", "-o", "ndjson"))
        self.assertEqual([(event["sequence"], event["payload"]["value"]["number"]) for event in events], [(1, 373), (3, 151.5)])
        self.assertEqual(events[0]["time"], "2016-04-12T00:00:00.000000000Z")

    def test_a_row_given_up_before_is_told_as_bad(self):
        self.import_csv(expect=3)
        self.map = self.path("map.toml", MAP.replace('column = "Steps"\nconvert = "number"', "constant = 1"))
        summary, err = self.import_csv(expect=3)
        self.assertEqual((summary["duplicates"], summary["bad"]), (2, 2))
        self.assertRegex(err, r"line 3: refused_before.*--publisher NAME")
        summary, _ = self.import_csv("--publisher", "again", expect=3)
        self.assertEqual((summary["published"], summary["bad"]), (3, 1))

    def test_a_dry_run_stores_nothing(self):
        summary, _ = self.import_csv("--dry-run", expect=3)
        self.assertEqual(summary, {"rows": 4, "published": 0, "duplicates": 0, "bad": 2})
        self.assertEqual(json.loads(self.run_cli("status", "-o", "json").stdout)["committed"], 0)

    def test_what_is_not_there(self):
        self.run_cli("import", "csv", "/no/such.csv", "--map", self.map, expect=4)
        self.run_cli("import", "csv", self.csv, "--map", "/no/such.toml", expect=4)
        self.map = self.path("map.toml", MAP.replace('"Steps"', '"Nothing"'))
        self.run_cli("import", "csv", self.csv, "--map", self.map, expect=2)


class Inspecting(Case):
    def test_lists_topics_groups_and_schemas(self):
        self.publish(2)
        self.publish(1, first=3, topic="b.c")
        topics = json.loads(self.run_cli("topic", "ls", "-o", "json").stdout)
        self.assertEqual([(topic["topic"], topic["events"]) for topic in topics], [("alerts.new", 2), ("b.c", 1)])
        self.run_cli("sub", "alerts.>", "--group", "g", "--until-end")
        self.assertEqual(json.loads(self.run_cli("topic", "info", "alerts.new", "-o", "json").stdout)["groups"], ["g"])
        self.assertEqual([group["group"] for group in lines(self.run_cli("group", "ls", "-o", "ndjson"))], ["g"])
        types = [schema["type"] for schema in json.loads(self.run_cli("schema", "ls", "-o", "json").stdout)]
        self.assertIn("suoke.health.HealthDataUpdate", types)
        shown = json.loads(self.run_cli("schema", "show", "HealthDataUpdate", "-o", "json").stdout)
        names = [field["name"] for field in shown["tables"]["suoke.health.HealthDataUpdate"]]
        self.assertEqual(names[:3], ["record_id", "user_id", "data_type"])
        self.assertIn("table suoke.health.Value {", self.run_cli("schema", "show", "HealthDataUpdate").stdout)

    def test_plain_text_is_columns_between_tabs(self):
        self.publish(1, "--key", "a\tb")
        self.assertEqual(self.run_cli("replay").stdout.split("\t")[3], "a b")
        self.assertEqual(self.run_cli("topic", "ls").stdout.split("\t")[:2], ["alerts.new", "1"])


class Verifying(Case):
    def verify(self, *words, expect):
        return json.loads(self.run_cli("log", "verify", "-o", "json", *words, expect=expect).stdout)

    def test_a_whole_log_has_no_faults(self):
        self.publish(100)
        expected = {"events": 100, "last": 100, "faults": []}
        found = self.verify(expect=0)
        self.assertEqual({name: found[name] for name in expected}, expected)
        self.assertEqual(json.loads(self.run_cli("log", "stat", "-o", "json").stdout)["records"], found["records"])
        self.run_cli("log", "verify", "--data", self.broker.data, expect=7)  # the broker has it open
        self.broker.stop()
        self.assertEqual(self.verify("--data", self.broker.data, expect=0), found)

    def flip(self, mark):
        """In all copies of the page that LMDB has left behind, because only one of them is in use."""
        path = next(os.path.join(base, "data.mdb") for base, _, files in os.walk(self.broker.data) if "data.mdb" in files)
        with open(path, "r+b") as file:
            content = file.read()
            self.assertIn(mark, content)
            file.seek(0)
            file.write(content.replace(mark, bytes([mark[0] ^ 1]) + mark[1:]))

    def test_a_flipped_byte_is_found_and_named(self):
        for number in (1, 2, 3):
            self.publish(1, first=number)
        self.broker.stop()
        self.flip(b"title 2")
        self.assertEqual([fault["position"] for fault in self.verify("--data", self.broker.data, expect=1)["faults"]], [2])
        self.broker.start()
        self.assertEqual([fault["position"] for fault in self.verify(expect=1)["faults"]], [2])
        self.assertIn("position 2", self.run_cli("log", "verify", expect=1).stdout)
        self.run_cli("event", "get", "2", expect=1)
        self.assertEqual(json.loads(self.run_cli("event", "get", "3", "-o", "json").stdout)["payload"]["title"], "title 3")


class Measuring(Case):
    def test_benches_print_figures(self):
        for name, words in [("pub", ["--rounds", "1", "--floor", "--data", self.directory]), ("sub", ["--rounds", "1"]),
                            ("replay", ["--rounds", "1"]), ("e2e", ["--rate", "10000"])]:
            with self.subTest(name=name):
                figures = json.loads(self.run_cli("bench", name, "--count", "500", *words, "-o", "json").stdout)
                self.assertEqual((figures["bench"], figures["events"]), (name, 500))
                for figure in {"pub": ["ratio", "floor_events_per_second"], "e2e": ["delivery_us", "receipt_us"]}.get(name, ["events_per_second"]):
                    self.assertTrue(figures[figure])
        self.assertEqual([name for name in os.listdir(self.directory) if name.startswith("bus-bench")], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
