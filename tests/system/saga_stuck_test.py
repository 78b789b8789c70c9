"""Goal: `bus-cli saga stuck` names what stands still for too long, why, and what to do, and nothing else.
Method: as in saga_cli_test.py. What takes hours in life is published with its time in the past."""

import json
import unittest

from broker_case import lines
from saga_cli_test import WHY, Sagas, ago


class StandStill(Sagas):
    def stuck(self, *words):
        return {(row["saga_id"], row["step"]): row for row in lines(self.saga("stuck", *words, "-o", "ndjson"))}

    def test_what_is_parked(self):
        parked = self.start_parked()
        undoing = self.start("undoing")
        self.until(undoing, parked=True)
        self.start_waiting()
        stuck = self.stuck()
        self.assertEqual(set(stuck), {(parked, "ship"), (undoing, "a")})
        row = stuck[(parked, "ship")]
        self.assertEqual(list(row), ["saga_id", "definition", "state", "step", "since", "for", "limit", "why", "what_to_do"])
        self.assertEqual(row["why"], "waits for somebody who decides about step 'ship', which has failed: the \"carrier\" is down")
        self.assertEqual(list(self.stuck("--definition", "undoing")), [(undoing, "a")])
        self.assertEqual(row["what_to_do"], "retry-step ship, or skip-step ship, or compensate")
        self.assertEqual(stuck[(undoing, "a")]["what_to_do"], "retry-step a, or skip-step a")

    # Without workers they stay where they are said to be.
    def test_what_takes_longer_than_its_limit(self):
        self.stop_runner()
        self.tell_begun("waiting/late", ago(hours=2), "approve")
        self.tell_begun("waiting/soon", ago(minutes=50), "approve")
        self.tell_begun("slow/late", ago(hours=2), "ask")
        self.tell_begun("slow/soon", ago(minutes=50), "ask")
        self.tell_begun("plain/nobody", ago(hours=2))
        stuck = self.stuck()
        self.assertEqual(set(stuck), {("waiting/late", "approve"), ("slow/late", "ask"), ("plain/nobody", None)})
        self.assertEqual(stuck[("waiting/late", "approve")]["limit"], "1h")
        self.assertEqual(stuck[("waiting/late", "approve")]["why"], "waits for signal 'approval', for step 'approve'")
        self.assertEqual(stuck[("slow/late", "ask")]["what_to_do"], "see that a service answers commands of nobody.commands; or skip-step ask, or cancel")
        self.assertIn("waits for a worker of definition 'plain'", stuck[("plain/nobody", None)]["why"])
        # Its time is over, which is for workers to see.
        self.assertRegex(stuck[("waiting/late", "approve")]["what_to_do"], "^see that workers of definition waiting with hash .* run; or skip-step approve, or cancel$")
        # What the definition limits is not longer for that.
        self.assertEqual(set(self.stuck("--longer-than", "3h")), {("waiting/late", "approve")})
        self.assertIn(("slow/soon", "ask"), self.stuck("--longer-than", "49m"))

    # Nothing that is said of it is refused then.
    def test_what_a_worker_has_to_decide(self):
        self.stop_runner()
        ended, given_up, turning = ("slow/ended", "ask"), ("slow/given-up", "ask"), ("slow/turning", "ask")
        for saga_id, step in [ended, given_up, turning]:
            self.tell_begun(saga_id, ago(hours=3), step)
        self.tell("slow/ended", "StepReply", ago(hours=2), step_id="ask", attempt=1)
        self.tell("slow/given-up", "SagaParked", ago(hours=2), step_id="ask", error="no answer")
        self.saga("compensate", "slow/given-up", *WHY)
        self.tell("slow/turning", "StepAttemptFailed", ago(hours=2), step_id="ask", attempt=1)
        self.saga("cancel", "slow/turning", *WHY)
        stuck = self.stuck()
        self.assertEqual(set(stuck), {ended, given_up, turning})
        for one, why, rest in [(ended, "attempt 1 at step 'ask' has ended", "; or cancel"), (given_up, "the saga is being undone", ""), (turning, "the saga is being undone", "; or skip-step ask")]:
            self.assertEqual(stuck[one]["why"], "waits for a worker that decides what follows, as " + why)
            self.assertRegex(stuck[one]["what_to_do"], f"^see that workers of definition slow with hash [0-9a-f]+ run{rest}$")

    def test_pauses_do_not_count(self):
        self.stop_runner()
        for saga_id, begun in [("slow/soon", 65), ("slow/late", 75)]:
            self.tell_begun(saga_id, ago(minutes=begun), "ask")
        self.tell_begun("waiting/late", ago(minutes=65), "approve")
        self.tell_begun("slow/parked", ago(hours=3), "ask")
        self.tell("slow/parked", "SagaParked", ago(hours=2), step_id="ask", error="no answer")
        for saga_id in ["slow/soon", "slow/late", "slow/parked", "waiting/late"]:
            self.tell(saga_id, "SagaPaused", ago(minutes=20), reason="a test")
        self.assertEqual(set(self.stuck()), {("slow/parked", "ask")})
        self.assertIn(("slow/parked", None), self.stuck("--longer-than", "19m"))
        for saga_id in ["slow/soon", "slow/late", "waiting/late"]:
            self.tell(saga_id, "SagaResumed", ago(minutes=10), reason="a test")
        # The time of a step, unlike that of its attempts, goes on.
        self.assertEqual(set(self.stuck()), {("slow/parked", "ask"), ("slow/late", "ask"), ("waiting/late", "approve")})

    def test_what_was_tried_again_has_its_time_again(self):
        self.stop_runner()
        self.tell_begun("slow/1", ago(hours=3), "ask")
        self.tell("slow/1", "SagaParked", ago(hours=2), step_id="ask", error="no answer")
        self.assertIn("no answer", self.stuck()[("slow/1", "ask")]["why"])
        self.tell("slow/1", "StepRetryRequested", ago(minutes=10), step_id="ask", reason="a test")
        self.assertEqual(self.stuck(), {})
        self.tell("slow/1", "SagaPaused", ago(minutes=9), reason="a test")
        self.assertEqual(self.stuck(), {})
        self.assertEqual(self.stuck("--longer-than", "8m")[("slow/1", None)]["what_to_do"], "resume")

    def test_the_limit_of_attempts_is_that_of_all_with_their_delays(self):
        self.stop_runner()
        retry = {"kind": "exponential", "retries": 3, "first_ns": 60_000_000_000}
        step = {"name": "a", "kind": "local", "attempt_timeout_ns": 600_000_000_000, "retry": retry}
        self.run_cli("pub", "saga.timed.saga_defined", json.dumps({"name": "timed", "definition_hash": "f" * 32, "steps": [step]}), "--type", "SagaDefined", "--key", "saga-definition/timed")
        self.tell_begun("timed/soon", ago(minutes=46), "a")
        self.tell_begun("timed/late", ago(minutes=48), "a")
        stuck = self.stuck()
        self.assertEqual(set(stuck), {("timed/late", "a")})
        self.assertEqual(stuck[("timed/late", "a")]["limit"], "47m")  # 4 × 10 min, and 1 + 2 + 4 min

    def test_a_limit_may_be_far_away(self):
        self.stop_runner()
        year = 366 * 24 * 3600 * 10**9
        step = {"name": "a", "kind": "local", "attempt_timeout_ns": year, "retry": {"kind": "exponential", "retries": 1000, "first_ns": year}}
        self.run_cli("pub", "saga.patient.saga_defined", json.dumps({"name": "patient", "definition_hash": "f" * 32, "steps": [step]}), "--type", "SagaDefined", "--key", "saga-definition/patient")
        self.tell_begun("patient/1", "2000-01-01T00:00:00Z", "a")
        self.tell_begun("patient/2", ago(days=300), "a")
        self.assertEqual({key: row["limit"] for key, row in self.stuck().items()}, {("patient/1", "a"): "3660d"})

    # What the rows have outlives the events.
    def test_what_retention_has_cut_off(self):
        self.stop_runner()
        self.tell_begun("slow/old", ago(hours=2), "ask")
        self.assertEqual(set(self.stuck()), {("slow/old", "ask")})
        self.run_cli("retention", "set", "saga.slow.told", "--max-events", "1")
        self.run_cli("retention", "run")
        row = self.stuck()[("slow/old", "ask")]
        self.assertIn("retention", row["why"])
        self.assertIn("no worker can go on with it", row["what_to_do"])


if __name__ == "__main__":
    unittest.main()
