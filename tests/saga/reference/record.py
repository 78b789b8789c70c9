#!/usr/bin/env python3
"""Records which events the plan's own saga orchestrator publishes, as a reference for ours: tests/saga/golden/SCENARIO.ndjson.

Goal: the order and the fields of the nine events stand against the orchestrator of the integration plan, which nobody here has written.
Method: its code is taken out of the plan's text, without the factory behind it, which does not parse, and run with scripted actions on a
clock that moves only when something sleeps or works.

  record.py PLAN.md DIRECTORY
"""

import asyncio
import json
import os
import re
import sys
import types

STEPS = ["validate_user", "save_health_data", "update_blockchain", "trigger_ai_analysis"]
WORK = 0.5  # seconds that an action or a compensation takes

# How many attempts at an action or a compensation fail; 9 are all of them.
SCENARIOS = {"success": ({}, {}), "retry_then_success": ({"save_health_data": 2}, {}), "compensation_failure": ({"trigger_ai_analysis": 9}, {"save_health_data": 9})}
SCENARIOS.update({f"failure_at_{step}": ({step: 9}, {}) for step in STEPS})


class Clock:
    def __init__(self):
        self.now = 0.0

    def time(self):
        return self.now

    async def advance(self, seconds):
        self.now += seconds


def orchestrator(plan, clock):
    """The module of the plan, with its clock replaced."""
    blocks = re.findall(r"```python\n(.*?)```", plan, re.DOTALL)
    code = next(block for block in blocks if "class SagaOrchestrator" in block)
    code = code[: code.index("class HealthDataSagaFactory")]
    module = types.ModuleType("plan")
    sys.modules["plan"] = module  # dataclasses look for it
    exec(compile(code, "plan", "exec"), module.__dict__)
    module.time = types.SimpleNamespace(time=clock.time)
    module.asyncio = types.SimpleNamespace(sleep=clock.advance)
    module.logging.disable(module.logging.CRITICAL)
    return module


class Recorder:
    def __init__(self):
        self.events = []

    async def publish(self, event):
        data = dict(event["data"], saga_id="S")
        if "step_id" in data:
            data["step_id"] = data["step_name"]
        self.events.append({"event": event["type"], "data": data})


def work(clock, failures):
    left = failures

    async def attempt():
        nonlocal left
        await clock.advance(WORK)
        if left > 0:
            left -= 1
            raise RuntimeError("broken")

    return attempt


async def play(module, clock, actions, compensations):
    recorder = Recorder()
    saga = module.SagaOrchestrator(saga_id="S", event_bus=recorder)
    for step in STEPS:
        saga.add_step(step, work(clock, actions.get(step, 0)), work(clock, compensations.get(step, 0)))
    await saga.execute()
    return recorder.events


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = file.read()
    for name, (actions, compensations) in SCENARIOS.items():
        clock = Clock()
        events = asyncio.run(play(orchestrator(plan, clock), clock, actions, compensations))
        with open(os.path.join(sys.argv[2], name + ".ndjson"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(event, sort_keys=True) + "\n" for event in events)


if __name__ == "__main__":
    main()
