// Goal: POS, TIME and durations mean what bus-cli(1) says, and nothing else is taken for one.
// Method: parse texts with a fixed clock.
#include "tools/position.hpp"

#include <gtest/gtest.h>

namespace bus::tools {
namespace {

using namespace std::chrono_literals;

constexpr WallTime now = wall_time(1'718'238'000'000'000'000);  // 2024-06-13T00:20:00Z

void expect_at(const char* text, wire::Start kind, std::int64_t value) {
  const auto at = parse_position(text, now);
  ASSERT_TRUE(at.ok()) << text << ": " << describe(at.error());
  EXPECT_EQ(at->kind, kind) << text;
  EXPECT_EQ(at->value, value) << text;
}

TEST(Position, NamesBothEndsOfTheLog) {
  expect_at("start", wire::Start::start, 0);
  expect_at("end", wire::Start::end, 0);
}

TEST(Position, CountsFromTheStartAndFromTheEnd) {
  expect_at("1", wire::Start::position, 1);
  expect_at("9223372036854775807", wire::Start::position, INT64_MAX);
  expect_at("-10", wire::Start::last, 10);
}

TEST(Position, TakesTimesAfterAnAtSign) {
  expect_at("@2024-06-13T00:20:00Z", wire::Start::time, nanoseconds(now));
  expect_at("@2024-06-13T08:20:00.000000001+08:00", wire::Start::time, nanoseconds(now) + 1);
  expect_at("@2024-06-13", wire::Start::time, nanoseconds(now - 20min));
  expect_at("@-1h", wire::Start::time, nanoseconds(now - 1h));
}

TEST(Position, RefusesWhatIsNone) {
  for (const auto* text : {"", "0", "-0", "-", "+1", " 1", "1 ", "1x", "-1h", "Start", "@", "@1h", "@now", "@2024-06-13 00:20", "0x10",
                           "9223372036854775808", "18446744073709551616", "1.5", "@2024-13-01T00:00:00Z", "@2024-06-13T00:20:00"}) {
    const auto at = parse_position(text, now);
    ASSERT_FALSE(at.ok()) << text;
    EXPECT_EQ(at.error().code, Code::bad_argument);
  }
}

TEST(Durations, AreSumsOfNumbersWithUnits) {
  EXPECT_EQ(parse_duration("5s").value(), 5s);
  EXPECT_EQ(parse_duration("1h30m").value(), 90min);
  EXPECT_EQ(parse_duration("1d2h3m4s5ms6us7ns").value(), 26h + 3min + 4s + 5ms + 6us + 7ns);
  EXPECT_EQ(parse_duration("1.5h").value(), 90min);
  EXPECT_EQ(parse_duration("0.25s").value(), 250ms);
  EXPECT_EQ(parse_duration("0").value(), 0s);
}

TEST(Durations, RefuseWhatIsNone) {
  for (const auto* text : {"", "5", "s", "-5s", "+5s", "5 s", "5x", "1.s", ".5s", "5s-", "1e3s", "9223372037s", "106752d", "5S"}) {
    EXPECT_FALSE(parse_duration(text).ok()) << text;
  }
}

TEST(Durations, AreShownAsTheyAreTyped) {
  for (const auto* text : {"5s", "1h30m", "250ms", "1d", "1ns"}) EXPECT_EQ(show_duration(parse_duration(text).value()), text);
  EXPECT_EQ(show_duration(0s), "0s");
}

TEST(Times, AreShownWithNanosecondsInUtc) {
  EXPECT_EQ(show_time(now), "2024-06-13T00:20:00.000000000Z");
  EXPECT_EQ(show_time(wall_time(-1)), "1969-12-31T23:59:59.999999999Z");
}

TEST(Times, ComeBackAsTheyWereShown) {
  for (const std::int64_t time : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1}, nanoseconds(now) + 123'456'789}) {
    EXPECT_EQ(parse_time(show_time(wall_time(time)), now).value(), wall_time(time));
  }
}

}  // namespace
}  // namespace bus::tools
