"""Goal: event types are registered and changed, and topics created, edited and removed, as docs/bus-cli.1 says, while the broker runs and
across its starts.
Method: the real programs over a socket in a temporary directory; schemas are the examples, compiled by bus-cli or by flatc."""

import json
import os
import subprocess
import unittest

from broker_case import BUSD, Case, lines, notification, wait_until

FLATC = os.environ["FLATC"]
EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "schemas")
VISIT = os.path.join(EXAMPLES, "visit.fbs")
NEXT = os.path.join(EXAMPLES, "visit_next.fbs")
BROKEN = os.path.join(EXAMPLES, "visit_broken.fbs")
PAYLOAD = '{"room": "7", "minutes": 20}'


class Schemas(Case):
    def visit(self, payload=PAYLOAD, expect=0):
        return self.run_cli("-o", "json", "pub", "clinic.visits", payload, "--type", "clinic.Visit", expect=expect)

    def added(self, *words, expect=0):
        return lines(self.run_cli("-o", "ndjson", "schema", "add", *words, expect=expect))

    def test_a_type_is_registered_and_known_after_a_restart(self):
        self.assertIn("clinic.Visit", self.visit(expect=4).stderr)
        self.assertEqual([(one["type"], one["before"], one["version"]) for one in self.added(VISIT)], [("clinic.Visit", None, 1)])
        self.visit()
        self.broker.stop()
        self.broker.start()
        self.visit()
        self.assertIn('"minutes":20', self.run_cli("replay", "-o", "ndjson", "--type", "Visit").stdout)
        listed = {one["type"]: one for one in lines(self.run_cli("schema", "ls", "-o", "ndjson"))}
        self.assertEqual((listed["clinic.Visit"]["version"], listed["clinic.Visit"]["compatibility"]), (1, "backward_transitive"))
        self.assertIsNone(listed["suoke.realtime.SystemNotification"]["version"])

    def test_a_version_that_breaks_is_refused_and_says_how_to_do_it(self):
        self.added(VISIT)
        checked = self.run_cli("schema", "check", BROKEN, expect=5)
        self.assertIn("clinic.Visit: would be refused, as it is backward_transitive", checked.stdout)
        self.assertIn("legally: keep the field and mark it (deprecated)", checked.stdout)
        refused = self.run_cli("schema", "add", BROKEN, expect=5)
        for part in ["incompatible_schema", "clinic.Visit", "version 1", "'minutes'", "field_removed", "mark it (deprecated)"]:
            self.assertIn(part, refused.stderr)
        self.assertEqual(self.added(NEXT)[0]["version"], 2)
        self.assertEqual(self.added(NEXT)[0]["version"], 2, "unchanged")
        self.assertEqual(self.added(BROKEN, "--compatibility", "none")[0]["version"], 3)

    def test_diff_history_and_show(self):
        self.added(VISIT, NEXT)
        self.assertIn("'note'", self.run_cli("schema", "diff", "Visit").stdout)
        self.assertIn("breaks:", self.run_cli("schema", "diff", "Visit", "--file", BROKEN).stdout)
        self.run_cli("schema", "diff", "Visit", "--from", "1", "--to", "9", expect=4)
        history = lines(self.run_cli("schema", "history", "Visit", "-o", "ndjson"))
        self.assertEqual([one["version"] for one in history], [1, 2])
        self.assertEqual([one["rule"] for one in history[1]["changes"]], ["field_added"])
        self.assertIn("version 2", self.run_cli("schema", "history", "Visit").stdout)
        self.assertIn("note", self.run_cli("schema", "show", "Visit").stdout)
        self.assertNotIn("note", self.run_cli("schema", "show", "Visit", "--version", "1").stdout)
        self.run_cli("schema", "history", "SystemNotification", expect=4)

    def test_a_deprecated_type_says_who_still_publishes_it(self):
        self.added(VISIT)
        told = json.loads(self.run_cli("-o", "json", "schema", "edit", "Visit", "--deprecate", "clinic.Encounter takes its place").stdout)
        self.assertEqual(told["deprecated"], "clinic.Encounter takes its place")
        self.visit()
        listed = {one["type"]: one for one in lines(self.run_cli("schema", "ls", "-o", "ndjson"))}["clinic.Visit"]
        self.assertEqual((listed["deprecated_events"], len(listed["deprecated_by"])), (1, 1))
        self.assertIn("deprecated: clinic.Encounter", self.run_cli("schema", "show", "Visit").stdout)
        self.assertIsNone(json.loads(self.run_cli("-o", "json", "schema", "edit", "Visit", "--undeprecate").stdout)["deprecated"])
        self.run_cli("schema", "edit", "Visit", expect=2)

    def test_a_payload_is_decoded(self):
        self.added(VISIT)
        source = self.path("payload.json", PAYLOAD)
        subprocess.run([FLATC, "-b", "-o", os.path.dirname(source), VISIT, source], check=True)
        binary = self.path("payload.bin")
        self.assertEqual(json.loads(self.run_cli("schema", "decode", "Visit", binary).stdout), json.loads(PAYLOAD))
        self.run_cli("schema", "decode", "Visit", VISIT, expect=1)
        self.run_cli("schema", "decode", "Visit", "/nowhere", expect=4)

    def test_a_binary_schema_and_what_is_none(self):
        subprocess.run([FLATC, "-b", "--schema", "-o", os.path.dirname(self.path("x")), VISIT], check=True)
        self.assertEqual(self.added(self.path("visit.bfbs"))[0]["version"], 1)
        self.assertEqual(self.added(VISIT)[0]["version"], 1, "the same, compiled by bus-cli")
        wrong = self.path("wrong.fbs", "table Visit { room: strin; }")
        self.assertIn("wrong.fbs", self.run_cli("schema", "add", wrong, expect=1).stderr)
        self.run_cli("schema", "add", self.path("junk.bfbs", "junk"), expect=1)
        self.run_cli("schema", "add", "/nowhere.fbs", expect=4)
        builtin = self.path("mine.fbs", "namespace suoke.realtime; table SystemNotification { x: int; } root_type SystemNotification;")
        self.assertIn("built in", self.run_cli("schema", "add", builtin, expect=5).stderr)


class Topics(Case):
    def info(self, topic):
        return json.loads(self.run_cli("-o", "json", "topic", "info", topic).stdout)

    def notify(self, topic, expect=0):
        return self.run_cli("pub", topic, notification(1), "--type", "SystemNotification", expect=expect)

    def test_is_created_edited_and_keeps_its_settings(self):
        self.run_cli("topic", "create", "alerts.new", "--description", "what people should know", "--property", "owner=ward 7",
                     "--type", "SystemNotification", "--max-age", "90d")
        self.run_cli("topic", "create", "alerts.new", expect=5)
        self.broker.stop()
        self.broker.start()
        told = self.info("alerts.new")
        self.assertEqual((told["description"], told["properties"], told["types"], told["retention"]),
                         ("what people should know", {"owner": "ward 7"}, ["suoke.realtime.SystemNotification"], "alerts.new"))
        self.run_cli("topic", "edit", "alerts.new", "--property", "owner=ward 8", "--property", "level=2")
        told = self.info("alerts.new")
        self.assertEqual((told["description"], told["properties"]), ("what people should know", {"owner": "ward 8", "level": "2"}))
        self.run_cli("topic", "edit", "alerts.new", "--remove-property", "level", "--all-types")
        self.assertEqual((self.info("alerts.new")["properties"], self.info("alerts.new")["types"]), ({"owner": "ward 8"}, []))
        self.run_cli("topic", "edit", "alerts.new", "--remove-property", "level", expect=4)
        self.run_cli("topic", "edit", "alerts.new", "--property", "level", expect=2)
        self.run_cli("topic", "edit", "nothing", "--description", "x", expect=4)
        self.assertIn("what people should know", self.run_cli("topic", "ls").stdout)
        self.run_cli("topic", "edit", "alerts.new", "--max-events", "1000")
        policy = lines(self.run_cli("-o", "ndjson", "retention", "ls"))[0]
        self.assertEqual((policy["max_age_ms"], policy["max_events"]), (90 * 86_400_000, 1000))

    def test_admits_the_types_it_says(self):
        self.run_cli("topic", "create", "sagas", "--type", "SagaStarted")
        self.assertIn("type_not_admitted", self.notify("sagas", expect=1).stderr)
        self.run_cli("topic", "edit", "sagas", "--type", "SagaStarted", "--type", "SystemNotification")
        self.notify("sagas")
        self.run_cli("topic", "create", "none", "--type", "NoSuchType", expect=4)

    def test_has_to_be_there_where_the_broker_makes_none(self):
        self.notify("old")
        self.broker.stop()
        self.broker.start("--auto-create-topics", "false")
        self.assertFalse(json.loads(self.run_cli("-o", "json", "status").stdout)["auto_create_topics"])
        self.assertIn("bus-cli topic create", self.notify("new", expect=4).stderr)
        self.notify("old")
        self.run_cli("topic", "create", "new")
        self.notify("new")

    def test_is_removed_once_it_is_empty(self):
        self.run_cli("topic", "create", "brief", "--max-age", "1s")
        self.run_cli("topic", "rm", "brief")
        self.run_cli("topic", "info", "brief", expect=4)
        self.notify("brief")
        self.assertIn("still has 1 events", self.run_cli("topic", "rm", "brief", expect=5).stderr)
        self.run_cli("topic", "rm", "never", expect=4)

    def test_is_removed_once_retention_has_removed_its_events(self):
        self.run_cli("topic", "create", "brief", "--max-events", "1")
        self.notify("other")
        for _ in range(3):
            self.notify("brief")
        self.notify("other")
        self.run_cli("topic", "rm", "brief", expect=5)
        self.run_cli("retention", "set", "brief", "--max-age", "1s")
        wait_until(lambda: self.run_cli("retention", "run") and self.info("brief")["events"] == 0)
        told = self.info("brief")
        self.assertEqual((told["events"], told["removed_events"]), (0, 3))
        self.run_cli("topic", "rm", "brief")
        for _ in range(2):
            self.run_cli("topic", "info", "brief", expect=4)
            self.assertEqual([one["topic"] for one in lines(self.run_cli("topic", "ls", "-o", "ndjson"))], ["other"])
            self.assertEqual(lines(self.run_cli("-o", "ndjson", "retention", "ls")), [], "its own policy went with it")
            self.broker.stop()
            self.broker.start()
        self.notify("brief")
        self.assertEqual((self.info("brief")["events"], self.info("brief")["types"]), (1, []))

    # Settings of 16 topics do not fit into one reply, nor do the names of so many others.
    def test_all_are_listed_in_parts(self):
        large = [word for at in range(32) for word in ("--property", f"p{at}=" + "v" * 1024)]
        made = [f"made.{at:02}" for at in range(16)]
        for topic in made:
            self.run_cli("topic", "create", topic, *large)
        self.notify(made[7])
        text = "".join(json.dumps({"topic": f"t{at:04}." + "x" * 240, "type": "suoke.realtime.SystemNotification", "payload": json.loads(notification(at))}) + "\n" for at in range(1500))
        self.run_cli("pub", "--events", "-", text=text)
        listed = [one["topic"] for one in lines(self.run_cli("topic", "ls", "-o", "ndjson"))]
        self.assertEqual(listed, sorted(made + [f"t{at:04}." + "x" * 240 for at in range(1500)]))


class Damage(Case):
    def test_a_damaged_row_of_schemas_stops_a_start_and_a_salvage_goes_on_without_it(self):
        mark = b"SchemaRowMark"
        self.run_cli("schema", "add", VISIT)
        self.run_cli("schema", "edit", "Visit", "--deprecate", mark.decode())
        self.run_cli("pub", "clinic.visits", PAYLOAD, "--type", "clinic.Visit")
        self.broker.stop()
        path = next(os.path.join(base, "data.mdb") for base, _, files in os.walk(self.broker.data) if "data.mdb" in files)
        with open(path, "rb") as file:
            whole = file.read()
        self.assertIn(mark, whole)
        with open(path, "wb") as file:
            file.write(whole.replace(mark, mark.swapcase()))
        started = subprocess.run([BUSD, "--data", self.broker.data, "--listen", self.broker.endpoint], capture_output=True, text=True, timeout=60)
        self.assertEqual(started.returncode, 1, started.stderr)
        for part in ["table schemas", "bus-cli restore", "bus-cli log salvage"]:
            self.assertIn(part, started.stderr)
        salvaged = os.path.join(self.directory, "salvaged")
        self.run_cli("log", "salvage", self.broker.data, salvaged, expect=3)
        self.broker.data = salvaged
        self.broker.start()
        self.assertIn('"minutes":20', self.run_cli("replay", "-o", "ndjson", "--topic", "clinic.visits").stdout)


if __name__ == "__main__":
    unittest.main()
