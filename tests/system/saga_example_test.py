"""Goal: the plan's saga, run by one command against four services, ends completed or undone whatever goes wrong, with each effect there once or not at
all; and its events are those of the plan's own orchestrator.
Method: examples/health_saga/run with one scenario after the other. It compares effects and events by itself; the events are compared here with what was
recorded from the orchestrator (tests/saga/golden)."""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.dont_write_bytecode = True  # of a program beside its sources
ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ["EXAMPLES"]).parent
RUN = ROOT / "examples" / "health_saga" / "run"
PATIENCE = float(os.environ.get("TEST_PATIENCE", "30"))
# Of the plan's fields those that are the same in each run.
FIELDS = ["step_id", "step_name", "attempt", "retry_count", "steps_count", "steps_to_compensate"]
COMPLETED = "The saga completed: what its steps have done is there, each once."
UNDONE = "The saga was undone: nothing is left of what its steps have done."


def word(name):
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")


def golden(scenario):
    with open(ROOT / "tests" / "saga" / "golden" / f"{scenario}.ndjson", encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    return [(event["event"], {name: event["data"][name] for name in FIELDS if name in event["data"]}) for event in events]


NINE = {"saga_started", "step_started", "step_completed", "step_failed", "compensation_started", "step_compensated", "step_compensation_failed",
        "compensation_completed", "saga_completed"}


def load_run():
    loader = importlib.machinery.SourceFileLoader("health_saga_run", str(RUN))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("health_saga_run", loader))
    loader.exec_module(module)
    return module


class SagaExample(unittest.TestCase):
    def run_saga(self, *words, expect, scenario=None):
        """What it prints. `scenario`: the golden file that its events are in the order of."""
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "history.ndjson"
            with subprocess.Popen([RUN, "--build", BUILD, "--history", file, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                try:
                    stdout, stderr = process.communicate(timeout=PATIENCE * 2)
                except subprocess.TimeoutExpired:
                    process.terminate()          # it ends what it has started
                    stdout, stderr = process.communicate()
            self.assertEqual(process.returncode, 0, stdout + stderr)
            history = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        self.assertEqual(stdout.splitlines()[-1], expect, stdout)
        if scenario:
            told = [(word(event["type"].rpartition(".")[2]), event["payload"]) for event in history]
            told = [(name, {field: payload[field] for field in FIELDS if field in payload}) for name, payload in told if name in NINE]
            wanted = golden(scenario)
            self.assertEqual([(name, {field: data.get(field) for field in expected}) for (name, data), (_, expected) in zip(told, wanted)], wanted)
            self.assertEqual(len(told), len(wanted))
        return stdout

    def test_all_goes_well(self):
        told = self.run_saga(expect=COMPLETED, scenario="success")
        self.assertIn("save_health_data: done after", told)
        self.assertIn("trigger_ai_analysis  an analysis of record r-1", told)

    def test_each_step_fails(self):
        for step in ("validate_user", "save_health_data", "update_blockchain", "trigger_ai_analysis"):
            with self.subTest(step=step):
                told = self.run_saga("--fail", f"{step}=always", "--retry-after", "20ms", expect=UNDONE, scenario=f"failure_at_{step}")
                self.assertIn(f"{step}: FAILED for good after 4 attempts: refused: told to fail", told)

    def test_a_step_is_tried_again(self):
        self.run_saga("--fail", "save_health_data=2", "--retry-after", "20ms", expect=COMPLETED, scenario="retry_then_success")

    def test_what_no_retry_would_mend_is_not_tried_again(self):
        told = self.run_saga("--user", "stranger", expect=UNDONE)
        self.assertIn("validate_user: FAILED for good after 1 attempt: unknown_user: stranger is not known", told)

    def test_a_compensation_fails(self):
        told = self.run_saga("--fail", "trigger_ai_analysis=always", "--fail-undo", "save_health_data=always", "--retry-after", "10ms",
                             expect="The saga was undone but for save_health_data, which a person has to look at.", scenario="compensation_failure")
        self.assertIn("save_health_data: could NOT be undone: told to fail", told)

    def test_a_late_reply_counts_while_the_step_has_not_ended(self):
        told = self.run_saga("--slow", "update_blockchain=700ms", "--attempt-timeout", "400ms", "--retry-after", "100ms", expect=COMPLETED)
        self.assertIn("update_blockchain: a late reply to attempt 1: done", told)

    def test_what_has_taken_too_long_is_undone_once_it_has_ended(self):
        told = self.run_saga("--slow", "update_blockchain=3s", "--attempt-timeout", "300ms", "--retry-after", "20ms", expect=UNDONE)
        self.assertIn("its effect may be there", told)
        self.assertIn("update_blockchain    undone, without a block with record r-1", told)

    def test_services_die_between_effect_and_reply(self):
        told = self.run_saga("--die", "save_health_data", "--die", "trigger_ai_analysis", expect=COMPLETED)
        self.assertIn("save_health_data has died (9)", told)
        self.assertIn("trigger_ai_analysis has died (9)", told)

    def test_services_and_worker_are_killed_while_many_sagas_run(self):
        run, count = load_run(), 24
        with tempfile.TemporaryDirectory() as directory:
            bus = run.Bus(BUILD, Path(directory))
            run.say = lambda text: None
            self.addCleanup(bus.log.close)
            try:
                run.start_all(bus, SimpleNamespace(fail={}, fail_undo={}, slow={}, die=[], retry_after="20ms", attempt_timeout="10s"))
                words = [BUILD / "examples" / "health_saga" / "health_saga_start", "--retry-after", "20ms", "--attempt-timeout", "10s", "--id"]
                starters = [subprocess.Popen([*words, f"r-{number}"], stdout=subprocess.DEVNULL, env=bus.environment) for number in range(count)]
                for starter in starters:
                    self.addCleanup(starter.wait)
                    self.addCleanup(starter.kill)
                # Each time that one has ended, another program is killed under those that are left.
                for number, starter in enumerate(starters):
                    bus.programs[[*run.STEPS, "the worker"][number % 5]].kill()
                    self.assertEqual(starter.wait(PATIENCE * 2), run.COMPLETED)
            finally:
                bus.stop(*reversed(list(bus.programs)))
            for step in run.STEPS:
                keys = [key for key, _ in run.effects_of(bus, step)]
                self.assertEqual(sorted(keys), sorted(f"health_data_entry/r-{number}:{step}" for number in range(count)))

    def test_the_broker_is_killed(self):
        told = self.run_saga("--kill-broker", expect=COMPLETED)
        self.assertIn("the broker has died (signal 9)", told)

    def test_the_comparison_can_fail(self):
        run = load_run()
        all_done = {step: [f"S:{step}\tdone"] for step in run.STEPS}
        one_twice = {**all_done, "save_health_data": ["S:save_health_data\tdone"] * 2}
        one_missing = {**all_done, "update_blockchain": []}
        could_not = [{"type": "suoke.saga.StepCompensationFailed", "payload": {"step_id": step}} for step in run.LEAVES_SOMETHING]
        for effects, ended, history, good in ((all_done, run.COMPLETED, [], True), (one_twice, run.COMPLETED, [], False), (one_missing, run.COMPLETED, [], False),
                                              (all_done, run.UNDONE, [], False), (all_done, run.UNDONE_IN_PART, could_not, True),
                                              (all_done, run.UNDONE_IN_PART, could_not[1:], False)):
            with tempfile.TemporaryDirectory() as directory:
                for step, lines in effects.items():
                    (Path(directory) / step).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
                self.assertEqual(run.what_is_wrong(SimpleNamespace(directory=Path(directory)), "S", ended, history) == [], good)


if __name__ == "__main__":
    unittest.main(verbosity=2)
