"""Goal: what people do with sagas keeps the contract of docs/bus-cli.1: they see what runs and what stands still, and step in.
Method: as in cli_test.py, with a program that runs sagas, $SAGA_RUNNER. `saga stuck` has a file of its own."""

import datetime
import fcntl
import json
import os
import pwd
import subprocess
import unittest

import broker_case
from broker_case import TIME, Case, lines, notification, read_line, wait_until

SAGA_RUNNER = os.environ["SAGA_RUNNER"]
WHY = ("--reason", "a test")
ROW = ["saga_id", "definition", "definition_hash", "state", "steps", "user_id", "started_at", "since", "for", "error"]


def ago(**time):
    return (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Sagas(Case):
    def setUp(self):
        super().setUp()
        os.environ["XDG_CACHE_HOME"] = self.path("cache")
        self.addCleanup(os.environ.pop, "XDG_CACHE_HOME")
        self.runner = subprocess.Popen([SAGA_RUNNER, self.broker.endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.stop_runner)
        self.assertEqual(read_line(self.runner), "ready\n")

    def stop_runner(self):
        if self.runner.poll() is None:
            self.runner.communicate(timeout=broker_case.PATIENCE)
        self.runner.stdout.close()

    def saga(self, *words, expect=0):
        return self.run_cli("saga", *words, expect=expect)

    def json(self, *words, expect=0):
        return json.loads(self.saga(*words, "-o", "json", expect=expect).stdout)

    def start(self, definition, *words):
        return self.json("start", definition, "1", *words)["saga_id"]

    def show(self, saga_id):
        return self.json("show", saga_id)

    def step(self, saga_id, name):
        return next(step for step in self.show(saga_id)["steps"] if step["step"] == name)

    def until(self, saga_id, **wanted):
        wait_until(lambda: wanted.items() <= self.show(saga_id).items())

    def start_parked(self, *words):
        saga_id = self.start("parking", *words)
        self.until(saga_id, parked=True)
        return saga_id

    def start_waiting(self):
        saga_id = self.start("waiting", notification(1))
        wait_until(lambda: self.step(saga_id, "approve")["status"] == "running")
        return saga_id

    def refused(self, words, code, *texts):
        with self.subTest(words=words):
            error = self.saga(*words, expect=code).stderr
            for text in texts:
                self.assertIn(text, error)

    def ls(self, *words):
        return [row["saga_id"] for row in lines(self.saga("ls", *words, "-o", "ndjson"))]

    # What a saga's key would have, if it had happened then.
    def tell(self, saga_id, event, time, **fields):
        payload = json.dumps({"saga_id": saga_id, **fields})
        topic = "saga." + saga_id.split("/")[0] + ".told"
        self.run_cli("pub", topic, payload, "--type", "suoke.saga." + event, "--key", saga_id, "--time", time)

    def tell_begun(self, saga_id, time, step=None):
        name = saga_id.split("/")[0]
        known = self.json("definitions", name)["definition_hash"]
        self.tell(saga_id, "SagaStarted", time, name=name, definition_hash=known)
        if step is not None:
            self.tell(saga_id, "StepStarted", time, step_id=step)


class Start(Sagas):
    def test_each_once(self):
        self.assertEqual(self.json("start", "plain", "1", "--user", "user-7"), {"saga_id": "plain/1", "new": True})
        again = self.saga("start", "plain", "1", "-o", "json")
        self.assertEqual(json.loads(again.stdout), {"saga_id": "plain/1", "new": False})
        self.assertIn("already", again.stderr)
        self.until("plain/1", status="completed")

    def test_with_an_input_of_the_type_that_it_takes(self):
        path = self.path("input.json", notification(7))
        for number, words in enumerate([(notification(7),), ("@" + path,), (notification(7), "--type", "SystemNotification")]):
            saga_id = self.json("start", "waiting", str(number), *words)["saga_id"]
            given = self.show(saga_id)["input"]
            self.assertEqual((given["type"], given["value"]["notification_id"]), ("suoke.realtime.SystemNotification", "n-7"))
        self.assertEqual(self.show(self.start("plain", "just text"))["input"], "just text")

    def test_what_cannot_be_is_refused(self):
        for words, code, texts in [
                (["start", "plane", "1"], 4, ["'plane'", "plain", "waiting"]),
                (["start", "waiting", "1"], 2, ["suoke.realtime.SystemNotification", "nothing"]),
                (["start", "waiting", "1", '{"record_id":"r","user_id":"u","value":{"number":1}}', "--type", "HealthDataUpdate"], 2, ["suoke.realtime.SystemNotification", "suoke.health.HealthDataUpdate"]),
                (["start", "waiting", "1", '{"titel":"x"}'], 1, ["bad_payload", "titel"]),
                (["start", "waiting", "1", "no json"], 1, ["not JSON"]),
                (["start", "waiting", "1", "@" + self.path("nowhere")], 4, ["nowhere"]),
                (["start", "plain", "1", "{}", "--type", "Nothing"], 4, ["'Nothing'"]),
                (["start", "plain", "x" * 151], 2, ["150"]),
                (["start", "plain"], 2, ["BUSINESS_ID"])]:
            self.refused(words, code, *texts)
        self.assertEqual(self.ls(), [])


class Look(Sagas):
    def test_show_says_all_that_is_known(self):
        saga_id = self.start_parked("--user", "user-7")
        shown = self.show(saga_id)
        self.assertEqual(list(shown), ["saga_id", "definition", "definition_hash", "user_id", "status", "paused", "parked", "cancelled", "since", "started_at", "ended_at", "error",
                                       "total_steps", "completed_steps", "late_replies", "version", "input", "waits_for", "fits", "timers", "steps"])
        self.assertEqual((shown["status"], shown["user_id"], shown["total_steps"], shown["completed_steps"]), ("running", "user-7", 2, 1))
        self.assertEqual(shown["fits"], ["pause", "compensate", "retry-step ship", "skip-step ship"])
        self.assertIn("'ship'", shown["waits_for"][0])
        self.assertRegex(shown["started_at"], TIME)
        charge, ship = shown["steps"]
        self.assertEqual((charge["status"], charge["result"], charge["retry_count"]), ("completed", "made by charge", 0))
        self.assertEqual((ship["status"], ship["code"], ship["error"], ship["retry_count"]), ("parked", "down", 'the "carrier" is down', 1))
        text = self.saga("show", saga_id).stdout
        for part in ["waits for:", "user-7", "ship\tparked\t1\t1\t", 'down: the "carrier" is down']:
            self.assertIn(part, text)

    def test_show_has_timers(self):
        timers = self.show(self.start_waiting())["timers"]
        self.assertEqual([(timer["kind"], timer["step"]) for timer in timers], [("saga", None), ("step", "approve")])
        self.assertIn("step 'approve' has taken too long", self.saga("show", "waiting/1").stdout)

    def test_history_is_a_timeline(self):
        saga_id = self.start("plain")
        self.until(saga_id, status="completed")
        events = lines(self.saga("history", saga_id, "-o", "ndjson"))
        self.assertEqual(list(events[0]), ["version", "position", "time", "since_start", "event", "step", "attempt", "what", "took", "reason", "by", "causation_id", "payload"])
        self.assertEqual([event["version"] for event in events], list(range(1, len(events) + 1)))
        self.assertEqual((events[0]["event"], events[0]["since_start"], events[-1]["event"]), ("SagaStarted", "0s", "SagaCompleted"))
        replies = [event for event in events if event["event"] == "StepReply"]
        self.assertEqual([(event["step"], event["attempt"]) for event in replies if event["step"] == "c"], [("c", 1), ("c", 2)])
        self.assertTrue(all(event["took"] for event in replies), replies)
        self.assertEqual(events[1]["payload"]["step_id"], "a")
        started = self.run_cli("key", "show", saga_id, "--count", "1", "-o", "ndjson").stdout
        self.assertEqual(events[1]["causation_id"], json.loads(started)["id"])
        self.assertIn("attempt 1 has failed: down: the \"carrier\" is down", self.saga("history", saga_id).stdout)

    def test_history_times_each_attempt(self):
        self.stop_runner()
        for event, minute, fields in [("SagaStarted", 0, {"name": "told", "definition_hash": "f" * 32}), ("StepStarted", 0, {}), ("StepAttemptFailed", 10, {"attempt": 1}), ("StepStarted", 20, {"attempt": 2}),
                                      ("StepReply", 25, {"attempt": 1}), ("StepStarted", 30, {"attempt": 3}), ("StepReply", 45, {"attempt": 2}), ("StepSkipped", 50, {"reason": "a test"})]:
            self.tell("told/1", event, f"2026-01-01T00:{minute:02}:00Z", **({} if event == "SagaStarted" else {"step_id": "a"}), **fields)
        events = lines(self.saga("history", "told/1", "-o", "ndjson"))
        self.assertEqual([event["took"] for event in events], [None, None, "10m", None, None, None, "25m", "20m"])

    def test_history_says_who_and_why(self):
        saga_id = self.start_parked()
        self.saga("skip-step", saga_id, "ship", "--reason", "sent by hand", "--by", "mia")
        self.until(saga_id, status="completed")
        self.assertIn("skipped, by mia: sent by hand", self.saga("history", saga_id).stdout)
        skipped = next(event for event in lines(self.saga("history", saga_id, "-o", "ndjson")) if event["event"] == "StepSkipped")
        self.assertEqual((skipped["by"], skipped["reason"], skipped["step"]), ("mia", "sent by hand", "ship"))

    def test_diagrams_show_what_it_is_at(self):
        saga_id = self.start_parked()
        drawn = self.saga("diagram", saga_id).stdout
        self.assertTrue(drawn.startswith("flowchart TD\n"), drawn)
        for part in ['begin(["parking/1<br/>running, parked"])', 'step0{{"charge<br/>pivot<br/>completed"}}:::done', 'step1["ship<br/>parked<br/>the #34;carrier#34; is down"]:::trouble',
                     "step0 --> step1", "step1 -.-> undo1", "command to ship.commands", "classDef trouble"]:
            self.assertIn(part, drawn)
        dot = self.saga("diagram", saga_id, "--format", "dot").stdout
        self.assertTrue(dot.startswith("digraph saga {\n") and dot.endswith("}\n"), dot)
        self.assertIn('step1 [label="ship\\nparked\\nthe \\"carrier\\" is down", fillcolor="#ffcdd2"];', dot)
        self.assertEqual(self.json("diagram", saga_id), {"diagram": drawn})
        self.assertEqual(self.json("diagram", "plain", "--format", "dot"), {"diagram": self.saga("diagram", "plain", "--format", "dot").stdout})

    def test_no_label_ends_a_diagram(self):
        saga_id = self.json("start", "slow", 'a"b\\<c>|x')["saga_id"]
        self.assertIn('begin(["slow/a#34;b#92;#60;c#62;#124;x<br/>running"])', self.saga("diagram", saga_id).stdout)
        self.assertIn('begin [label="slow/a\\"b\\\\<c>|x\\nrunning", shape=oval];', self.saga("diagram", saga_id, "--format", "dot").stdout)

    def test_diagrams_of_definitions_show_no_state(self):
        drawn = self.saga("diagram", "plain").stdout
        self.assertIn('subgraph group1 [at once]\n  step1["b1"]\n  step2["b2"]\n  end\n', drawn)
        for part in ["step0 --> step1", "step0 --> step2", "step1 --> step3", "step2 --> step3", "step3 --> finish"]:
            self.assertIn(part, drawn)
        self.assertNotIn(":::", drawn)

    def test_definitions(self):
        rows = lines(self.saga("definitions", "-o", "ndjson"))
        self.assertEqual([row["definition"] for row in rows], ["failing", "parking", "plain", "slow", "undoing", "waiting"])
        waiting = self.json("definitions", "waiting")
        self.assertEqual(waiting, rows[-1])
        self.assertEqual((waiting["input_type"], waiting["timeout"]), ("suoke.realtime.SystemNotification", "1d"))
        approve = waiting["steps"][1]
        self.assertEqual((approve["kind"], approve["signal"], approve["timeout"], approve["compensation"]), ("signal", "approval", "1h", "none"))
        self.assertEqual(self.json("definitions", "plain")["steps"][3]["retry"]["first"], "10ms")
        text = self.saga("definitions", "parking").stdout
        self.assertIn("charge (pivot)\t0\tfunction\tnone", text)
        self.assertIn("command to ship.commands", text)

    def test_definitions_of_before(self):
        first = self.json("definitions", "plain")["definition_hash"]
        self.run_cli("pub", "saga.plain.saga_defined", json.dumps({"name": "plain", "definition_hash": "f" * 32, "steps": [{"name": "x"}]}), "--type", "SagaDefined", "--key", "saga-definition/plain")
        hashes = lambda *words: [row["definition_hash"] for row in lines(self.saga("definitions", *words, "-o", "ndjson")) if row["definition"] == "plain"]
        self.assertEqual(hashes(), ["f" * 32])
        self.assertEqual(hashes("--all"), ["f" * 32, first])
        self.assertEqual(hashes("plain", "--all"), ["f" * 32, first])

    def test_what_is_not_there(self):
        for words, *texts in [(["show", "plain/9"], "'plain/9'"), (["history", "plain/9"], "'plain/9'"), (["diagram", "plain/9"], "'plain/9'"), (["diagram", "plane"], "'plane'", "plain"),
                              (["definitions", "plane"], "'plane'", "parking")]:
            self.refused(words, 4, *texts)
        self.refused(["diagram", "plain", "--format", "png"], 2, "png")

    def test_every_verb_has_an_example(self):
        for words in [[], ["ls"], ["stuck"], ["show"], ["history"], ["diagram"], ["definitions"], ["start"], ["signal"], ["pause"], ["resume"], ["cancel"], ["retry-step"], ["skip-step"], ["compensate"]]:
            self.assertIn("Example:\n  bus-cli saga", self.saga(*words, "--help").stdout)


class ByHand(Sagas):
    def test_a_step_is_tried_again(self):
        saga_id = self.start_parked()
        done = self.json("retry-step", saga_id, "ship", *WHY)
        self.assertEqual((done["saga_id"], done["version"]), (saga_id, 8))
        self.until(saga_id, status="completed")
        requested = lines(self.saga("history", saga_id, "-o", "ndjson"))[7]
        self.assertEqual((requested["event"], requested["by"]), ("StepRetryRequested", pwd.getpwuid(os.geteuid()).pw_name))

    def test_what_is_parked_is_undone(self):
        saga_id = self.start_parked()
        self.saga("compensate", saga_id, *WHY)
        self.until(saga_id, status="compensated")
        self.assertEqual(self.step(saga_id, "charge")["status"], "compensated")

    def test_a_compensation_is_skipped(self):
        saga_id = self.start("undoing")
        self.until(saga_id, parked=True)
        self.saga("skip-step", saga_id, "a", *WHY)
        self.until(saga_id, status="compensated")

    def test_pause_resume_and_cancel(self):
        saga_id = self.start_waiting()
        self.saga("pause", saga_id, *WHY)
        self.saga("signal", saga_id, "approval", notification(2))
        wait_until(lambda: self.step(saga_id, "approve")["status"] == "completed")
        self.assertEqual((self.show(saga_id)["paused"], self.step(saga_id, "b")["status"]), (True, "pending"))
        self.saga("cancel", saga_id, *WHY)
        self.saga("resume", saga_id, *WHY)
        self.until(saga_id, status="compensated", error="cancelled: a test")

    def test_a_signal_has_its_value(self):
        saga_id = self.start_waiting()
        self.saga("signal", saga_id, "approval", notification(2))
        self.until(saga_id, status="completed")
        self.assertEqual(self.step(saga_id, "approve")["result"]["value"]["notification_id"], "n-2")

    def test_what_makes_no_sense_is_refused(self):
        parked, waiting = self.start_parked(), self.start_waiting()
        for words, code, texts in [
                (["pause", "plain/9", *WHY], 4, ["'plain/9'"]),
                (["retry-step", parked, "shop", *WHY], 4, ["'shop'", "charge, ship"]),
                (["retry-step", parked, "charge", *WHY], 5, ["it is completed, not parked", "what fits: pause, compensate, retry-step ship"]),
                (["skip-step", waiting, "b", *WHY], 5, ["has not begun"]),
                (["cancel", parked, *WHY], 5, ["past its pivot 'charge'"]),
                (["resume", parked, *WHY], 5, ["not paused"]),
                (["compensate", waiting, *WHY], 5, ["not parked"]),
                (["signal", waiting, "aproval"], 4, ["'aproval'", "there are approval"]),
                (["signal", parked, "approval"], 4, ["none waits for any"]),
                (["signal", waiting, "approval"], 2, ["suoke.realtime.SystemNotification"]),
                (["signal", waiting, "approval", '{"titel":"x"}'], 1, ["titel"]),
                (["signal", waiting, "approval", '{"record_id":"r","user_id":"u","value":{"number":1}}', "--type", "HealthDataUpdate"], 2, ["suoke.health.HealthDataUpdate"]),
                (["pause", parked], 2, ["--reason"]), (["pause", parked, "--reason", ""], 2, ["reason"]), (["cancel", parked], 2, ["--reason"]), (["retry-step", parked, "ship"], 2, ["--reason"]),
                (["pause", parked, "--reason", "x" * 1025], 2, ["1024"]), (["retry-step", parked, *WHY], 2, ["STEP"])]:
            self.refused(words, code, *texts)
        self.assertEqual(self.show(parked)["version"], 7)

    def test_what_has_ended_stays_as_it_is(self):
        saga_id = self.start("failing")
        self.until(saga_id, status="compensated")
        for words in [["pause"], ["resume"], ["cancel"], ["compensate"], ["retry-step"], ["skip-step"], ["signal"]]:
            name = ["b"] if "step" in words[0] or words[0] == "signal" else []
            self.refused([words[0], saga_id, *name, *WHY], 5, "has ended: compensated")


class List(Sagas):
    def start_some(self):
        self.until(self.start("failing"), status="compensated")
        self.start_parked("--user", "user-7")
        self.start_waiting()

    def test_what_runs_and_what_has_ended(self):
        self.start_some()
        self.assertEqual(self.ls(), ["waiting/1", "parking/1", "failing/1"])
        for words, wanted in [(["--state", "running"], ["waiting/1"]), (["--state", "open"], ["waiting/1", "parking/1"]), (["--state", "ended"], ["failing/1"]),
                              (["--state", "parked", "--state", "compensated"], ["parking/1", "failing/1"]), (["--definition", "parking"], ["parking/1"]), (["--step", "approve"], ["waiting/1"]),
                              (["--user", "user-7"], ["parking/1"]), (["--older-than", "1h"], []), (["--older-than", "0s"], ["waiting/1", "parking/1", "failing/1"]), (["--state", "paused"], [])]:
            with self.subTest(words=words):
                self.assertEqual(self.ls(*words), wanted)
        limited = self.saga("ls", "--limit", "2")
        self.assertEqual([line.split("\t")[0] for line in limited.stdout.splitlines()], ["waiting/1", "parking/1"])
        self.assertIn("--limit", limited.stderr)
        self.assertEqual(self.saga("ls", "--limit", "3").stderr, "")
        row = lines(self.saga("ls", "--user", "user-7", "-o", "ndjson"))[0]
        self.assertEqual(list(row), ROW)
        self.assertEqual((row["state"], row["steps"], row["error"]), ("parked", ["ship"], 'ship: the "carrier" is down'))

    def test_it_follows_what_happens(self):
        saga_id = self.start_waiting()
        self.assertEqual(self.ls("--state", "running"), [saga_id])
        self.saga("pause", saga_id, *WHY)
        self.assertEqual((self.ls("--state", "running"), self.ls("--state", "paused")), ([], [saga_id]))
        self.saga("resume", saga_id, *WHY)
        self.saga("signal", saga_id, "approval", notification(2))
        self.until(saga_id, status="completed")
        self.assertEqual((self.ls("--state", "open"), self.ls("--state", "completed")), ([], [saga_id]))

    def test_the_file_is_one_for_each_log(self):
        self.start_some()
        self.ls()
        kept = [name for name in os.listdir(self.path("cache/bus")) if name.endswith(".state")]
        self.assertEqual(len(kept), 1)
        self.assertRegex(kept[0], r"^sagas-[0-9a-f]{32}-\d+-v\d+\.state$")
        self.assertEqual(self.ls("--state-file", self.path("own.state")), self.ls())
        self.assertTrue(os.path.exists(self.path("own.state")))

    def test_rows_of_another_version_are_made_anew(self):
        self.start_some()
        path = self.path("own.state")
        subprocess.run([SAGA_RUNNER, self.broker.endpoint, path], check=True, timeout=broker_case.PATIENCE)
        self.assertEqual(self.ls("--state-file", path), ["waiting/1", "parking/1", "failing/1"])

    def test_each_error_is_of_its_step(self):
        self.stop_runner()
        error = lambda saga_id: next(row["error"] for row in lines(self.saga("ls", "-o", "ndjson")) if row["saga_id"] == saga_id)
        now = ago()
        self.tell_begun("plain/two", now, "b1")
        self.tell("plain/two", "StepStarted", now, step_id="b2")
        for step in ["b1", "b2"]:
            self.tell("plain/two", "SagaParked", now, step_id=step, error=f"no {step}")
        self.assertEqual(error("plain/two"), "b1: no b1; b2: no b2")
        self.tell("plain/two", "StepRetryRequested", now, step_id="b1", reason="a test")
        self.assertEqual(error("plain/two"), "b2: no b2")
        self.tell("plain/two", "StepSkipped", now, step_id="b2", reason="a test")
        self.assertEqual(error("plain/two"), None)
        self.tell("plain/two", "CompensationStarted", now, cause="cancelled: a test")
        self.tell("plain/two", "StepCompensationStarted", now, step_id="b2")
        self.tell("plain/two", "SagaParked", now, step_id="b2", compensation=True, error="it stays")
        self.assertEqual(error("plain/two"), "cancelled: a test; b2: it stays")
        self.tell("plain/two", "StepRetryRequested", now, step_id="b2", reason="a test")
        self.assertEqual(error("plain/two"), "cancelled: a test")

    def test_it_needs_a_place_for_the_file(self):
        self.addCleanup(os.environ.__setitem__, "HOME", os.environ.pop("HOME", "/nowhere"))
        os.environ["XDG_CACHE_HOME"] = "relative"
        self.refused(["ls"], 2, "--state-file")
        os.environ["HOME"] = self.path("home")
        self.assertEqual(self.ls(), [])
        self.assertEqual(os.listdir(self.path("home/.cache")), ["bus"])

    def test_two_at_once_take_turns(self):
        self.start_some()
        path = self.path("own.state")
        self.ls("--state-file", path)
        with open("/proc/self/comm", encoding="utf-8") as comm:
            owner_name = f"process {os.getpid()} ({comm.read().strip()})"
        with open(path + ".owner", "rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            self.refused(["ls", "--state-file", path, "--timeout", "300ms"], 7, path, owner_name)
            waiting = broker_case.begin(self.broker, "saga", "ls", "--state-file", path, "--timeout", "30s", "-o", "ndjson")
            told = read_line(waiting, "stderr")
            self.assertIn(path, told)
            self.assertIn(owner_name + "; waiting", told)
            fcntl.flock(owner, fcntl.LOCK_UN)
        code, out, err = broker_case.end(waiting)
        self.assertEqual((code, len(out.splitlines())), (0, 3), err)

    def test_what_cannot_be_is_refused(self):
        for words, code, text in [(["ls", "--state", "fine"], 2, "fine"), (["ls", "--limit", "0"], 2, "--limit"), (["ls", "--older-than", "old"], 2, "old"),
                                  (["ls", "--state-file", self.path("no/such/place")], 1, "no/such"), (["stuck", "--longer-than", "x"], 2, "x")]:
            self.refused(words, code, text)
        path = self.path("other.state", "not a state")
        self.refused(["ls", "--state-file", path], 1, "other.state")


if __name__ == "__main__":
    unittest.main()
