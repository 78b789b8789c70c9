// Goal: an event with deliver_at in the future waits outside the log, and comes into it once it is due: exactly once, whatever
// crashes when; it is listed, shown, cancelled and run by its id, which a resend gets again.
// Method: the real core on the real store, driven message by message.
#include <gtest/gtest.h>

#include "broker/core/schedule_rows.hpp"
#include "tests/support/schedule_case.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;
using test::encode;

TEST_F(ScheduleTest, WaitsOutsideTheLogUntilItIsDue) {
  const auto result = publish({in(5s, "later", "k"), encode(test::event("now", "k")), in(0s, "due")});
  ASSERT_EQ(result.receipts.size(), 3u);
  EXPECT_TRUE(result.receipts[0].scheduled() && result.receipts[0].position() == 0 && !result.receipts[0].duplicate());
  EXPECT_EQ(result.receipts[1].position(), 1u);
  EXPECT_EQ(result.receipts[2].position(), 2u) << "what is due already is not scheduled";
  EXPECT_FALSE(result.receipts[2].scheduled());
  pass(5s - 1ns);
  EXPECT_EQ(log().size(), 2u);
  EXPECT_EQ(waiting(), 1u);
  pass(1ns);
  EXPECT_EQ(log(), (std::vector<Line>{{"now", 2, 1}, {"due", 3, 0}, {"later", 1, 2}})) << "its version comes when it is due";
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(ScheduleTest, ComesInTheOrderOfTimes) {
  publish({in(3s, "c"), in(1s, "a"), in(2s, "b"), in(1s, "a2")});
  EXPECT_EQ(listed(), (std::vector<std::uint64_t>{2, 4, 3, 1}));
  pass(10s);
  EXPECT_EQ(log(), (std::vector<Line>{{"a", 2, 0}, {"a2", 4, 0}, {"b", 3, 0}, {"c", 1, 0}}));
}

TEST_F(ScheduleTest, TellsWhenItNextHasToLook) {
  publish({in(300ms)});
  EXPECT_LE(bus.core->tick(bus.now), bus.now.steady + 300ms);
  EXPECT_GT(bus.core->tick(bus.now), bus.now.steady);
}

TEST_F(ScheduleTest, OneThatIsDueEarlierIsNotForgottenWhileOthersAreRead) {
  publish({in(1s, "first")});
  bus.advance(1s);
  bus.core->tick(bus.now);                        // asks for the rows
  bus.publish("p", next_++, {in(1s, "second")});  // not committed when they are read
  bus.read();
  bus.run();
  pass(1s);
  EXPECT_EQ(log(), (std::vector<Line>{{"first", 1, 0}, {"second", 2, 0}}));
}

TEST_F(ScheduleTest, OutlivesACrash) {
  publish({in(5s, "a", "k"), in(6s, "b", "k")});
  bus.crash();
  connect();
  EXPECT_EQ(waiting(), 2u);
  pass(5s);
  bus.crash();
  connect();
  pass(1s);
  EXPECT_EQ(log(), (std::vector<Line>{{"a", 1, 1}, {"b", 2, 2}}));
  bus.restart();
  connect();
  pass(10s);
  EXPECT_EQ(log().size(), 2u);
}

TEST_F(ScheduleTest, IsPublishedOnceWhereTheBrokerDiesBetween) {
  publish({in(5s, "a")});
  bus.advance(5s);
  bus.core->tick(bus.now);
  bus.read();
  ASSERT_TRUE(bus.take());  // with the committer when the process dies: not committed
  bus.crash();
  connect();
  pass(0s);
  EXPECT_EQ(log(), (std::vector<Line>{{"a", 1, 0}}));
}

TEST_F(ScheduleTest, AResendHasTheSameIdBeforeAndAfter) {
  const Buffer later = in(5s, "later");
  publish({later, encode(test::event("now")), test::skipped()});
  const auto check = [&] {
    const auto again = publish({later, encode(test::event("now")), test::skipped()}, 1);
    ASSERT_EQ(again.receipts.size(), 3u);
    EXPECT_TRUE(again.receipts[0].scheduled() && again.receipts[0].duplicate() && again.receipts[0].position() == 0);
    EXPECT_TRUE(!again.receipts[1].scheduled() && again.receipts[1].duplicate());
    ASSERT_EQ(again.refusals.size(), 1u);
    EXPECT_EQ(again.refusals[0]->code, Code::refused_before);
  };
  check();
  bus.crash();
  connect();
  check();
  pass(5s);
  check();
  bus.restart();
  connect();
  check();
  EXPECT_EQ(log().size(), 2u);
}

TEST_F(ScheduleTest, AResendOfNothingButScheduledOnesIsKnown) {
  const auto events = std::vector<Buffer>{in(5s), in(6s)};
  publish(events);
  bus.restart();
  connect();
  const auto again = publish(events, 1);
  ASSERT_EQ(again.receipts.size(), 2u);
  EXPECT_TRUE(again.receipts[0].scheduled() && again.receipts[1].scheduled() && again.receipts[1].duplicate());
  EXPECT_EQ(waiting(), 2u);
}

TEST_F(ScheduleTest, SequencesGoOnAfterACrash) {
  publish({in(5s, "a")});
  bus.crash();
  connect();
  EXPECT_EQ(publish({encode(test::event("b"))}).receipts.at(0).position(), 1u);
}

TEST_F(ScheduleTest, IsNotInTheChainOfItsPublisher) {
  publish({in(1s, "late"), encode(test::event("a"))});
  pass(1s);                                 // 1 comes after 2
  publish({encode(test::event("b"))});      // 3
  const auto again = publish({encode(test::event("a")), encode(test::event("b"))}, 2);
  EXPECT_EQ(again.receipts.at(0).position(), 1u);
  EXPECT_EQ(again.receipts.at(1).position(), 3u);
  bus.restart();
  connect();
  const auto later = publish({encode(test::event("a")), encode(test::event("b")), encode(test::event("c"))}, 2);
  EXPECT_EQ(later.receipts.at(2).position(), 4u) << "the next one is taken as the next";
  const auto faults = answer<wire::VerifyReplyT>(wire::LogVerifyT()).faults.size();
  EXPECT_EQ(faults, 0u);
}

TEST_F(ScheduleTest, IsCancelledForGood) {
  publish({in(5s, "a"), in(5s, "b")});
  EXPECT_EQ(cancel({1, 3, 1}), (std::vector<Code>{Code::ok, Code::not_found, Code::ok}));
  bus.crash();
  connect();
  EXPECT_EQ(cancel({1}), std::vector<Code>{Code::conflict});
  pass(5s);
  EXPECT_EQ(log(), (std::vector<Line>{{"b", 2, 0}}));
  EXPECT_EQ(cancel({2}), std::vector<Code>{Code::conflict});
  const auto cancelled = answer<wire::ScheduleGetReplyT>(about<wire::ScheduleGetT>(1));
  EXPECT_EQ(cancelled.fate, wire::ScheduleFate::cancelled);
  const auto published = answer<wire::ScheduleGetReplyT>(about<wire::ScheduleGetT>(2));
  EXPECT_EQ(published.fate, wire::ScheduleFate::published);
  EXPECT_EQ(published.position, 1u);
}

TEST_F(ScheduleTest, IsNotPublishedWhereItIsCancelledInTheSameMoment) {
  publish({in(5s, "a")});
  wire::ScheduleCancelT ask;
  ask.ids.push_back(id(1));
  bus.ask("m", std::move(ask));  // its row is not read yet
  pass(5s);
  EXPECT_EQ(log().size() + waiting(), 0u);
}

TEST_F(ScheduleTest, IsRunAtOnce) {
  publish({in(1h, "a", "k"), in(2h, "b", "k"), encode(test::event("c", "k"))});
  bus.restart();  // so that the key has to be read
  connect();
  const auto run = answer<wire::ScheduleRunReplyT>(about<wire::ScheduleRunT>(2));
  EXPECT_EQ(run.position, 2u);
  EXPECT_EQ(run.version, 2u);
  EXPECT_EQ(log(), (std::vector<Line>{{"c", 3, 1}, {"b", 2, 2}}));
  EXPECT_EQ(refusal(about<wire::ScheduleRunT>(2)), Code::conflict);
  EXPECT_EQ(refusal(about<wire::ScheduleRunT>(9)), Code::not_found);
  EXPECT_EQ(refusal(about<wire::ScheduleRunT>(1, "beta")), Code::not_found);
  EXPECT_EQ(refusal(wire::ScheduleRunT()), Code::bad_request);
  pass(2h);
  EXPECT_EQ(log().size(), 3u);
}

TEST_F(ScheduleTest, IsListedByFilterAndInParts) {
  auto high = test::event("x.c");
  high.deliver_at = nanoseconds(bus.now.wall + 3s);
  high.priority = wire::Priority::high;
  publish({in(1s, "x.a", "k"), in(2s, "x.b", "l"), encode(high), in(4s, "y", "k")});
  EXPECT_EQ(listed([](auto& ask) { ask.filter->patterns = {"x.*"}; }), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(listed([](auto& ask) { ask.filter->keys = {"k"}; }), (std::vector<std::uint64_t>{1, 4}));
  EXPECT_EQ(listed([](auto& ask) { ask.filter->priorities = {wire::Priority::high}; }), (std::vector<std::uint64_t>{3}));
  EXPECT_EQ(listed([](auto& ask) { ask.publisher = "alpha"; }).size(), 4u);
  EXPECT_EQ(listed([](auto& ask) { ask.publisher = "nobody"; }).size(), 0u);
  EXPECT_EQ(listed([](auto& ask) { ask.limit = 1; }), (std::vector<std::uint64_t>{1, 2, 3, 4}));
  wire::ScheduleRequestT bad;
  bad.filter = std::make_unique<wire::FilterT>();
  bad.filter->time_from = 1;
  EXPECT_EQ(refusal(std::move(bad)), Code::bad_filter);
  const auto shown = answer<wire::ScheduleGetReplyT>(about<wire::ScheduleGetT>(1));
  EXPECT_EQ(shown.fate, wire::ScheduleFate::waiting);
  EXPECT_EQ(shown.event->event_id, "x.a-k");
  EXPECT_EQ(shown.event->due_at, nanoseconds(bus.now.wall + 1s));
  EXPECT_EQ(shown.event->scheduled_at, nanoseconds(bus.now.wall));
}

TEST_F(ScheduleTest, RefusesWhatCannotBe) {
  auto event = test::event();
  const auto code_of = [&](std::int64_t deliver_at, std::int64_t expires_at) {
    event.deliver_at = deliver_at;
    event.expires_at = expires_at;
    const auto result = publish({encode(event)});
    return result.refusals.empty() ? Code::ok : result.refusals[0]->code;
  };
  const auto now = nanoseconds(bus.now.wall);
  const auto far = Duration(limits::schedule_ahead_max).count();
  EXPECT_EQ(code_of(-1, 0), Code::bad_event);
  EXPECT_EQ(code_of(0, -1), Code::bad_event);
  EXPECT_EQ(code_of(now + 10, now + 10), Code::bad_event);
  EXPECT_EQ(code_of(now + far + 1, 0), Code::bad_event);
  EXPECT_EQ(code_of(now + far, 0), Code::ok);
  EXPECT_EQ(code_of(now + 10, now + 11), Code::ok);
  EXPECT_EQ(waiting(), 2u);
}

TEST_F(ScheduleTest, ManyThatAreDueAtOnceComeInParts) {
  std::vector<Buffer> events;
  for (std::size_t at = 0; at < limits::schedule_taken_max + 1; ++at) events.push_back(in(5s, "t", std::to_string(at % 700)));
  publish(events);
  pass(5s);
  EXPECT_EQ(log().size(), 1000u) << "as many as there is credit for";
  EXPECT_EQ(number(bus.core->head()), limits::schedule_taken_max + 1);
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(ScheduleTest, WaitsWhereItsRowsCannotBeReadAndSaysSo) {
  publish({in(5s, "a")});
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    const auto* rows = std::get_if<ReadRows>(&ask);
    if (rows == nullptr || rows->table != store::Table::schedule) return std::nullopt;
    return Error{Code::damaged, "table schedule, key 00"};
  };
  pass(5s);
  EXPECT_EQ(answer<wire::StatusReplyT>(wire::StatusRequestT()).schedule_trouble, "table schedule, key 00");
  EXPECT_EQ(log().size(), 0u);
  bus.read_fault = {};
  pass(1s);
  EXPECT_EQ(log().size(), 1u);
  EXPECT_EQ(answer<wire::StatusReplyT>(wire::StatusRequestT()).schedule_trouble, "");
}

// One bit on the disk: that event is named as damaged and stays, the others come in time, and it can be taken out.
TEST_F(ScheduleTest, ADamagedRowHoldsUpNoOther) {
  publish({in(5s, "t", "first"), in(5s, "t", "second"), in(5s, "t", "third")});
  bus.crash([](const std::filesystem::path& data) {
    const auto path = data / "log" / "data.mdb";
    std::string file = testing::read_file(path);
    std::size_t found = 0;
    for (auto at = file.find("t-second"); at != std::string::npos; at = file.find("t-second", at + 1), ++found) file[at] ^= 1;
    ASSERT_GT(found, 0u);
    testing::write_file(path, file);
  });
  connect();
  EXPECT_EQ(refusal(about<wire::ScheduleGetT>(2)), Code::damaged);
  EXPECT_EQ(refusal(about<wire::ScheduleRunT>(2)), Code::damaged);
  EXPECT_EQ(listed(), (std::vector<std::uint64_t>{1, 3}));
  pass(5s);
  EXPECT_EQ(log(), (std::vector<Line>{{"t", 1, 1}, {"t", 3, 1}}));
  EXPECT_EQ(waiting(), 1u);
  EXPECT_NE(answer<wire::StatusReplyT>(wire::StatusRequestT()).schedule_trouble, "");
  EXPECT_EQ(cancel({2}), std::vector<Code>{Code::ok});
  pass(1s);
  EXPECT_EQ(waiting(), 0u);
  EXPECT_EQ(answer<wire::StatusReplyT>(wire::StatusRequestT()).schedule_trouble, "");
}

TEST_F(ScheduleTest, GoesOnOnceKeysCanBeReadAgain) {
  publish({in(5s, "a", "k"), in(8s, "b")});
  bus.restart();
  connect();
  bool fails = true;
  bus.read_fault = [&](const ReadAsk& ask) -> std::optional<Error> {
    if (!fails || !std::holds_alternative<ReadKeyHeads>(ask)) return std::nullopt;
    return Error{Code::disk_error, "once"};
  };
  pass(5s);
  fails = false;
  pass(3s);
  EXPECT_EQ(log(), (std::vector<Line>{{"a", 1, 1}, {"b", 2, 0}}));
}

TEST_F(ScheduleTest, OneWhoseKeyIsDamagedHoldsUpNoOther) {
  publish({in(5s, "bad", "bad"), in(5s, "good", "good"), in(5s, "none")});
  bus.restart();
  connect();
  bus.read_fault = [bad = bus.key_hash("bad")](const ReadAsk& ask) -> std::optional<Error> {
    const auto* heads = std::get_if<ReadKeyHeads>(&ask);
    if (heads == nullptr || std::count(heads->keys.begin(), heads->keys.end(), bad) == 0) return std::nullopt;
    return Error{Code::damaged, "a leaf"};
  };
  pass(5s);
  EXPECT_EQ(log(), (std::vector<Line>{{"good", 2, 1}, {"none", 3, 0}}));
  EXPECT_EQ(waiting(), 1u);
  EXPECT_EQ(answer<wire::StatusReplyT>(wire::StatusRequestT()).schedule_trouble, "a leaf");
  EXPECT_EQ(cancel({1}), std::vector<Code>{Code::ok});
  pass(1s);
  EXPECT_EQ(answer<wire::StatusReplyT>(wire::StatusRequestT()).schedule_trouble, "");
}

// The large ones fill what one read may bring.
TEST_F(ScheduleTest, ThoseThatCannotBePublishedArePassedBy) {
  std::vector<Buffer> events;
  for (int at = 0; at < 3; ++at) {
    auto large = test::event("bad", "bad");
    large.deliver_at = nanoseconds(bus.now.wall + 1s);
    large.payload = test::notification(std::string(600'000, 'x'));
    events = {encode(large)};
    publish(events);
  }
  publish({in(2s, "good")});
  bus.restart();
  connect();
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    if (!std::holds_alternative<ReadKeyHeads>(ask)) return std::nullopt;
    return Error{Code::damaged, "a leaf"};
  };
  for (int second = 0; second < 6; ++second) pass(1s);
  EXPECT_EQ(log(), (std::vector<Line>{{"good", 4, 0}}));
  bus.read_fault = {};
  for (int second = 0; second < 6; ++second) pass(1s);
  EXPECT_EQ(log().size(), 4u);
}

TEST_F(ScheduleTest, OneThatIsRunAndCannotBeHoldsUpNoOther) {
  publish({in(1h, "bad", "bad"), in(5s, "good")});
  bus.restart();
  connect();
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    if (!std::holds_alternative<ReadKeyHeads>(ask)) return std::nullopt;
    return Error{Code::damaged, "a leaf"};
  };
  for (int second = 0; second < 5; ++second) {
    EXPECT_EQ(refusal(about<wire::ScheduleRunT>(1)), Code::damaged);
    pass(1s);
  }
  EXPECT_EQ(log(), (std::vector<Line>{{"good", 2, 0}}));
  EXPECT_EQ(answer<wire::StatusReplyT>(wire::StatusRequestT()).schedule_trouble, "");
}

TEST_F(ScheduleTest, OneThatComesAfterAStuckOneWasCancelledIsNotForgotten) {
  publish({in(1s, "bad", "bad")});
  bus.restart();
  connect();
  bus.read_fault = [](const ReadAsk& ask) -> std::optional<Error> {
    if (!std::holds_alternative<ReadKeyHeads>(ask)) return std::nullopt;
    return Error{Code::damaged, "a leaf"};
  };
  pass(1s);
  EXPECT_EQ(cancel({1}), std::vector<Code>{Code::ok});
  publish({in(500ms, "next")});
  for (int half = 0; half < 6; ++half) pass(500ms);
  EXPECT_EQ(log(), (std::vector<Line>{{"next", 2, 0}}));
}

TEST_F(ScheduleTest, ABatchOfManySmallOnesIsTaken) {
  std::vector<Buffer> events;
  for (int at = 0; at < 10'000; ++at) events.push_back(in(1h));
  for (int batch = 0; batch < 5; ++batch) EXPECT_EQ(publish(events).receipts.size(), 10'000u);
  EXPECT_EQ(waiting(), 50'000u);
}

TEST_F(ScheduleTest, WhatBecameOfOldOnesIsForgotten) {
  publish({in(1s, "old"), in(1h, "waits")});
  pass(1s);
  const std::vector<Buffer> many(limits::batch_events_max, test::skipped());
  for (std::size_t batches = limits::window_events / limits::batch_events_max; batches > 0; --batches) publish(many);
  publish({in(1s, "new")});
  EXPECT_EQ(answer<wire::ScheduleGetReplyT>(about<wire::ScheduleGetT>(1)).fate, wire::ScheduleFate::published);
  pass(1s);
  EXPECT_EQ(refusal(about<wire::ScheduleGetT>(1)), Code::not_found);
  EXPECT_EQ(answer<wire::ScheduleGetReplyT>(about<wire::ScheduleGetT>(2)).fate, wire::ScheduleFate::waiting);
  EXPECT_EQ(answer<wire::ScheduleGetReplyT>(about<wire::ScheduleGetT>(next_ - 1)).fate, wire::ScheduleFate::published);
}

TEST(ScheduledRow, ReadsOnlyWhatMakesSense) {
  const Buffer body = encode(test::event());
  const ScheduledRow row{wall_time(5), {1, 2}, wall_time(3), 4, 5, 1, 0, {6, 7}, body};
  const auto value = row.encode();
  const auto read = ScheduledRow::decode(row.row_key(), value);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->due, row.due);
  EXPECT_EQ(read->id, row.id);
  EXPECT_EQ(read->key, row.key);
  EXPECT_TRUE(std::equal(read->body.begin(), read->body.end(), body.begin(), body.end()));
  EXPECT_FALSE(ScheduledRow::decode(row.row_key() + "x", value));
  EXPECT_FALSE(ScheduledRow::decode(row.row_key(), value.substr(0, value.size() - 8)));
  EXPECT_FALSE(ScheduledRow::decode(row.row_key(), value + "12345678"));
  EXPECT_FALSE(ScheduledRow::decode(row.row_key(), ""));
}

}  // namespace
}  // namespace bus::broker
