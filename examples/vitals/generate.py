#!/usr/bin/env python3
"""Writes vitals of invented people as CSV, in the layout of the Fitbit export that examples/fitbit maps.

The same seed gives the same bytes. Five files are written to --out: hourlySteps_merged.csv,
dailyActivity_merged.csv, sleepDay_merged.csv, weightLogInfo_merged.csv and heartrate_merged.csv (for
heart_rate.toml beside this program). They have the peculiarities of the real ones: lines end in CR LF,
the hourly file changes its way of writing times, cells for body fat are mostly empty, and some nights
are there twice.

    ./generate.py --seed 7 --rows 22099 --out vitals
"""

import argparse
import csv
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

FIRST_DAY = datetime(2016, 4, 12)
DAYS = 31
HOURS = DAYS * 24
# From here on the hourly file writes 12-hour times, as the real one does in places.
FORMAT_CHANGE = datetime(2016, 4, 30)

# Steps in an hour of the day, relative to the busiest one.
RHYTHM = [0.02, 0.01, 0.0, 0.0, 0.0, 0.05, 0.2, 0.5, 0.7, 0.7, 0.75, 0.8,
          0.9, 0.85, 0.8, 0.7, 0.8, 0.95, 1.0, 0.9, 0.6, 0.4, 0.2, 0.08]


def half_day(time):
    """4/12/2016 7:05:09 AM"""
    hour = time.hour % 12 or 12
    return f"{time.month}/{time.day}/{time.year} {hour}:{time:%M:%S} {'AM' if time.hour < 12 else 'PM'}"


def full_day(time):
    """4/12/2016 7:05"""
    return f"{time.month}/{time.day}/{time.year} {time.hour}:{time:%M}"


def short_date(time):
    """4/12/16"""
    return f"{time.month}/{time.day}/{time:%y}"


class Person:
    """One invented person: an id and the habits that all readings follow from."""

    def __init__(self, random_numbers):
        self.random = random_numbers
        self.id = self.random.randrange(1_500_000_000, 8_900_000_000)
        self.busiest_hour = self.random.uniform(250, 1300)
        self.sleep_minutes = self.random.gauss(420, 35)
        self.height = self.random.gauss(1.70, 0.09)
        self.weight = self.random.gauss(23.5, 3.0) * self.height ** 2
        self.resting_pulse = self.random.gauss(62, 7)
        self.reports_weight = self.random.random() < 0.3
        self.wears_at_night = self.random.random() < 0.75

    def steps(self, time):
        """Steps in the hour that begins at `time`."""
        weekend = 0.8 if time.weekday() >= 5 else 1.0
        mean = self.busiest_hour * RHYTHM[time.hour] * weekend
        if mean == 0 or self.random.random() < 0.15:
            return 0
        return int(mean * self.random.lognormvariate(-0.1, 0.6))

    def pulse(self, steps):
        """Beats per minute in an hour with so many steps."""
        return round(self.resting_pulse + 12 * math.log1p(steps / 150) + self.random.gauss(0, 3))


def activity_row(person, day, steps):
    """The columns of dailyActivity_merged.csv, consistent with the day's steps."""
    distance = steps * person.height * 0.415 / 1000
    shares = (0.2, 0.1, 0.69, 0.01) if steps else (0, 0, 0, 0)
    very, fairly = steps // 700, steps // 900
    lightly = min(steps // 45, 600)
    sedentary = max(0, 1440 - very - fairly - lightly - int(person.sleep_minutes))
    calories = round(22 * person.weight + steps * person.weight * 0.0006)
    distances = [f"{distance * share:.9g}" for share in shares]
    return [person.id, short_date(day), steps, f"{distance:.9g}", f"{distance:.9g}", 0, *distances,
            very, fairly, lightly, sedentary, calories]


def sleep_row(person, day):
    asleep = max(58, round(person.random.gauss(person.sleep_minutes, 45)))
    naps = person.random.choices((1, 2, 3), (88, 11, 1))[0]
    return [person.id, half_day(day), naps, asleep, asleep + round(person.random.gammavariate(4, 9))]


def weight_row(person, day):
    time = day + timedelta(hours=23, minutes=59, seconds=59)
    manual = person.random.random() < 0.6
    if not manual:
        time = day + timedelta(hours=6, seconds=person.random.randrange(3600))
    weight = person.weight + person.random.gauss(0, 0.4)
    fat = person.random.randrange(18, 30) if person.random.random() < 0.03 else ""
    log_id = int((time - datetime(1970, 1, 1)).total_seconds()) * 1000
    return [person.id, half_day(time), f"{weight:.13g}", f"{weight / 0.45359237:.15g}", fat,
            f"{weight / person.height ** 2:.15g}", manual, log_id]


class Files:
    """The five CSV files, open for writing."""

    HEADERS = {
        "hourlySteps": "Id,ActivityHour,StepTotal",
        "dailyActivity": "Id,ActivityDate,TotalSteps,TotalDistance,TrackerDistance,LoggedActivitiesDistance,"
                         "VeryActiveDistance,ModeratelyActiveDistance,LightActiveDistance,SedentaryActiveDistance,"
                         "VeryActiveMinutes,FairlyActiveMinutes,LightlyActiveMinutes,SedentaryMinutes,Calories",
        "sleepDay": "Id,SleepDay,TotalSleepRecords,TotalMinutesAsleep,TotalTimeInBed",
        "weightLogInfo": "Id,Date,WeightKg,WeightPounds,Fat,BMI,IsManualReport,LogId",
        "heartrate": "Id,Time,Value",
    }

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.files = {name: open(folder / f"{name}_merged.csv", "w", newline="", encoding="utf-8")
                      for name in self.HEADERS}
        self.writers = {name: csv.writer(file) for name, file in self.files.items()}
        for name, header in self.HEADERS.items():
            self.writers[name].writerow(header.split(","))

    def write(self, name, row):
        self.writers[name].writerow(row)

    def close(self):
        for file in self.files.values():
            file.close()


def write_day(files, person, day, hours):
    """Writes `hours` hours of one person's day and, if it is whole, what is known once a day."""
    total = 0
    for hour in range(hours):
        time = day + timedelta(hours=hour)
        steps = person.steps(time)
        total += steps
        files.write("hourlySteps", [person.id, half_day(time) if time >= FORMAT_CHANGE else full_day(time), steps])
        files.write("heartrate", [person.id, half_day(time), person.pulse(steps)])
    if hours < 24:
        return
    files.write("dailyActivity", activity_row(person, day, total))
    if person.wears_at_night and person.random.random() < 0.55:
        row = sleep_row(person, day)
        for _ in range(2 if person.random.random() < 0.007 else 1):
            files.write("sleepDay", row)
    if person.reports_weight and person.random.random() < 0.25:
        files.write("weightLogInfo", weight_row(person, day))


def generate(seed, rows, folder):
    files = Files(folder)
    people = 0
    while rows > 0:
        person = Person(random.Random(f"{seed}/{people}"))
        people += 1
        for day in range(DAYS):
            hours = min(24, rows)
            rows -= hours
            if hours > 0:
                write_day(files, person, FIRST_DAY + timedelta(days=day), hours)
    files.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same files (default 1)")
    parser.add_argument("--rows", type=int, default=22099,
                        help=f"rows of the hourly file, {HOURS} for a person (default 22099)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go; made if missing")
    arguments = parser.parse_args()
    if arguments.rows < 1:
        parser.error("--rows must be at least 1")
    generate(arguments.seed, arguments.rows, arguments.out)


if __name__ == "__main__":
    main()
