"""Goal: the programs in examples/ do what their first comment says.
Method: run them one after the other on a broker of the test's own."""

import json
import os
import subprocess
import unittest

from broker_case import PATIENCE, Case

EXAMPLES = os.environ["EXAMPLES"]


class Examples(Case):
    def example(self, name, *words):
        result = subprocess.run([os.path.join(EXAMPLES, name), *words], capture_output=True, text=True, timeout=PATIENCE, check=False,
                                env={**os.environ, "BUS_SERVER": self.broker.endpoint})
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_publish_alert_and_total(self):
        self.assertEqual(self.example("publish_steps", "user-7", "4000"), "stored at position 1, version 1 of user-7\n")
        self.assertEqual(self.example("publish_steps", "user-7", "9000"), "stored at position 2, version 2 of user-7\n")
        self.assertEqual(self.example("step_alerts", "8000", "2"), "user-7 walked 9000 steps\n")
        self.assertEqual(self.example("step_totals"), "user-7\t13000\n")
        self.assertEqual(self.group("step-alerts")["acked"], 2)

    # Killed with SIGKILL again and again while readings come, and rebuilt in the end: the table is what the log says.
    def test_daily_steps_of_two_people_through_kills(self):
        state = self.path("steps.state")
        day, hour = 86_400_000_000_000, 3_600_000_000_000
        expected = {}
        for round_number in range(5):
            process = subprocess.Popen([os.path.join(EXAMPLES, "daily_steps/daily_steps"), state, "--follow"], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, env={**os.environ, "BUS_SERVER": self.broker.endpoint})
            self.assertTrue(process.stdout.readline().startswith(b"as of position"))
            readings = []
            for number in range(100):
                user, date, steps = f"user-{number % 2}", 16_903 + number // 40, number * (round_number + 1)
                expected[user, date] = expected.get((user, date), 0) + steps
                readings.append({"record_id": f"{round_number}/{number}", "user_id": user, "data_type": "steps", "unit": "steps", "time_basis": "local",
                                 "measured_at_ns": date * day + number % 24 * hour, "value": {"number": steps}})
            readings.append({**readings[0], "record_id": f"{round_number}/pulse", "data_type": "heart_rate", "unit": "bpm"})
            self.run_cli("pub", "health.data.updated", "-", "--type", "HealthDataUpdate", "--key-field", "user_id",
                         text="".join(json.dumps(reading) + "\n" for reading in readings))
            process.kill()
            process.communicate()
        dates = {16_903: "2016-04-12", 16_904: "2016-04-13", 16_905: "2016-04-14"}
        table = "as of position 505\n" + "".join(f"{user}\t{dates[date]}\t{steps}\n" for (user, date), steps in sorted(expected.items()))
        self.assertEqual(self.example("daily_steps/daily_steps", state), table)
        self.assertEqual(self.example("daily_steps/daily_steps", state, "--rebuild"), table)
        self.assertEqual(self.example("daily_steps/daily_steps", state), table)


if __name__ == "__main__":
    unittest.main(verbosity=2)
