"""Goal: the programs in examples/ do what their first comment says.
Method: run them one after the other on a broker of the test's own."""

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


if __name__ == "__main__":
    unittest.main(verbosity=2)
