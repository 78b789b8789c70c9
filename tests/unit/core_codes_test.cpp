// Goal: every code that the broker can answer with is answered, each in the situation docs/PROTOCOL.md gives for it.
// Method: one table, code by code; a test at the end finds the codes that have no line in it.
//
// Not here, because no message to the broker can bring them about, or another test has it:
//   trimmed                      of what retention has removed: core_retention_test
//   conflict                     of schemas and topics: core_schema_registry_test, core_topics_test; of single dead letters: core_dead_letters_test
//   denied, bad_argument         only of settings and endpoints: core_config_test
//   locked, disk_error           only of opening and writing the store, which ends the process
//   bad_format                   the same, and of schemas: core_schema_registry_test
//   timed_out, disconnected, closed, log_changed    said by libbus itself
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <set>

#include "tests/support/provoked.hpp"
#include "tests/support/publish_at_limit.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using test::fill_names;
using test::Harness;
using test::publish_at_limit;
using test::publish_what_is_not_admitted;
using test::publish_where_topics_are_created;
using test::raw_publish;
using test::register_what_breaks;
using test::said;
using test::subscribe;

const std::set<Code> unreachable = {
    Code::trimmed, Code::conflict, Code::denied, Code::bad_argument, Code::locked, Code::bad_format,
    Code::disk_error, Code::timed_out, Code::disconnected, Code::closed, Code::log_changed,
    Code::fold_failed, Code::fold_changed, Code::projection_mismatch};

// ---- events

std::set<Code> publish_one(const Buffer& bytes) {
  Harness bus;
  bus.hello("p", "alpha");
  bus.publish("p", 1, {bytes});
  bus.run();
  return said(bus, "p");
}

template <typename Change>
std::set<Code> publish_changed(Change change) {
  auto one = event("a.b");
  change(one);
  return publish_one(encode(one));
}

std::set<Code> too_large() {
  auto one = event();
  one.payload.resize(limits::event_bytes_max);
  return publish_one(encode(one));
}

// ---- batches

std::set<Code> batch(std::uint64_t first, std::size_t bytes) {
  Harness bus;
  bus.hello("p", "alpha");
  return raw_publish(bus, first, 1, bytes == 0 ? encode(event()) : Buffer(bytes, 0));
}

// Events of 1 MiB, without a commit in between.
std::set<Code> fill_window() {
  Harness bus;
  bus.hello("p", "alpha");
  bus.publish("p", 1, {test::skipped()});
  bus.take();
  auto large = event();
  large.payload = test::notification(std::string(limits::MiB - 1000, 'x'));
  const Buffer bytes = encode(large);
  for (std::uint64_t sequence = 2; sequence < 20 && bus.received("p").empty(); ++sequence) bus.publish("p", sequence, {bytes});
  return said(bus, "p");
}

std::set<Code> fill_disk() {
  Harness bus;
  bus.map_bytes = 12 * limits::MiB;
  bus.crash();
  bus.hello("p", "alpha");
  auto large = event();
  large.payload = test::notification(std::string(limits::MiB - 1000, 'x'));
  for (std::uint64_t sequence = 1; sequence < 14; ++sequence) {
    bus.publish("p", sequence, {encode(large)});
    bus.run();
    if (bus.core->log_full()) break;
  }
  bus.publish("p", 1, {encode(large)});
  return said(bus, "p");
}

std::set<Code> be_fenced() {
  Harness bus;
  bus.hello("p", "alpha");
  bus.hello("q", "alpha");
  bus.publish("p", 1, {encode(event())});
  return said(bus, "p");
}

std::set<Code> resend_refused() {
  Harness bus;
  bus.hello("p", "alpha");
  bus.publish("p", 1, {encode(event("a..b"))});
  bus.run();
  bus.take<wire::PublishResultT>("p");
  bus.publish("p", 1, {encode(event("a..b"))});
  bus.run();
  return said(bus, "p");
}

std::set<Code> refuse_a_step() {
  Harness bus;
  bus.hello("p", "alpha");
  wire::PublishT step;
  step.steps.push_back(std::make_unique<wire::StepT>());
  step.steps[0]->count = 2;
  bus.publish("p", 1, {encode(event()), encode(event("a..b"))}, std::move(step));
  bus.run();
  auto codes = said(bus, "p");
  EXPECT_EQ(codes.erase(Code::bad_topic), 1u);  // of the other event
  return codes;
}

std::set<Code> cancel_nothing() {
  Harness bus;
  bus.hello("p", "alpha");
  wire::PublishT step;
  step.steps.push_back(std::make_unique<wire::StepT>());
  step.steps[0]->count = 1;
  step.steps[0]->cancels.push_back(std::make_unique<wire::ScheduleIdT>());
  step.steps[0]->cancels[0]->publisher = "alpha";
  step.steps[0]->cancels[0]->sequence = 7;
  bus.publish("p", 1, {encode(event())}, std::move(step));
  bus.run();
  return said(bus, "p");
}

std::set<Code> publish_draining() {
  Harness bus;
  bus.hello("p", "alpha");
  bus.core->drain();
  return raw_publish(bus, 1, 1, encode(event()));
}

wire::EventT scheduled_event() {
  auto later = event();
  later.deliver_at = 1000;
  return later;
}

// ---- sessions

std::set<Code> send_garbage() {
  Harness bus;
  bus.core->receive("x", std::vector<Frame>{Frame::of(Buffer(20, 1))}, bus.now);
  return said(bus, "x");
}

template <typename Message>
std::set<Code> first_message(const Message& message) {
  Harness bus;
  bus.send("x", message);
  bus.run();
  return said(bus, "x");
}

std::set<Code> hello(std::uint16_t protocol, const std::string& publisher = "") {
  wire::HelloT message;
  message.protocol = protocol;
  message.publisher = publisher;
  return first_message(message);
}

std::set<Code> too_many_sessions() {
  Harness bus;
  wire::HelloT message;
  message.protocol = wire::protocol_version;
  for (std::size_t at = 0; at < limits::sessions_max; ++at) bus.send("x" + std::to_string(at), message);
  EXPECT_EQ(bus.core->sessions(), limits::sessions_max);
  bus.send("last", message);
  return said(bus, "last");
}

// ---- subscriptions

template <typename Message>
std::set<Code> in_session(const Message& message) {
  Harness bus;
  bus.hello("s");
  bus.send("s", message);
  bus.run();
  return said(bus, "s");
}

std::set<Code> filtered(const std::string& pattern, const std::string& type) {
  auto message = subscribe(1);
  message.filter = std::make_unique<wire::FilterT>();
  if (!pattern.empty()) message.filter->patterns = {pattern};
  message.filter->types = {type};
  return in_session(message);
}

std::set<Code> start_beyond_end() {
  auto message = subscribe(1, "", wire::Start::position);
  message.from_value = 2;
  return in_session(message);
}

std::set<Code> join_with_another_filter() {
  Harness bus;
  bus.hello("s");
  bus.send("s", subscribe(1, "g"));
  bus.run();
  auto other = subscribe(2, "g");
  other.filter = std::make_unique<wire::FilterT>();
  other.filter->patterns = {"a"};
  bus.send("s", other);
  return said(bus, "s");
}

std::set<Code> lose_group() {
  Harness bus;
  bus.hello("s");
  bus.send("s", subscribe(1, "g"));
  bus.run();
  wire::GroupRemoveT remove;
  remove.name = "g";
  bus.ask("s", std::move(remove));
  return said(bus, "s");
}

std::set<Code> many_subscriptions() {
  Harness bus;
  bus.hello("s");
  for (std::uint32_t id = 1; id <= limits::subscriptions_per_session_max; ++id) bus.send("s", subscribe(id));
  EXPECT_TRUE(said(bus, "s").empty());
  bus.send("s", subscribe(65));
  return said(bus, "s");
}

std::set<Code> many_groups() {
  Harness bus;
  for (std::size_t at = 0; at < limits::groups_max; ++at) {
    const Peer peer = "s" + std::to_string(at / limits::subscriptions_per_session_max);
    const auto id = static_cast<std::uint32_t>(at % limits::subscriptions_per_session_max + 1);
    if (id == 1) bus.hello(peer);
    bus.send(peer, subscribe(id, "g" + std::to_string(at)));
  }
  bus.hello("last");
  bus.send("last", subscribe(1, "another"));
  return said(bus, "last");
}

std::set<Code> same_number() {
  Harness bus;
  bus.hello("s");
  bus.send("s", subscribe(1));
  bus.send("s", subscribe(1));
  return said(bus, "s");
}

std::set<Code> settle(std::uint64_t position, std::uint32_t attempt) {
  Harness bus;
  bus.hello("p", "alpha");
  bus.hello("s");
  bus.send("s", subscribe(1, "g"));
  bus.publish("p", 1, {encode(event())});
  bus.run();
  wire::SettleT message;
  message.subscription = 1;
  message.epoch = bus.take<wire::DeliverT>("s").at(0).epoch;
  message.settlements.emplace_back(position, attempt, 0, wire::Verdict::ack);
  bus.send("s", message);
  return said(bus, "s");
}

// ---- requests

std::set<Code> ask_nothing() {
  wire::RequestT request;
  request.request = 1;
  return in_session(request);
}

template <typename T>
std::set<Code> ask(T question) {
  wire::RequestT request;
  request.request = 1;
  request.ask.Set(std::move(question));
  return in_session(request);
}

std::set<Code> seek_group(const std::string& name) {
  wire::GroupSeekT seek;
  seek.name = name;
  return ask(std::move(seek));
}

// Twice, with so many events in flight.
std::set<Code> create_group(std::uint32_t in_flight_max) {
  Harness bus;
  bus.hello("s");
  wire::GroupCreateT create;
  create.name = "g";
  create.settings = std::make_unique<wire::GroupSettingsT>();
  create.settings->in_flight_max = in_flight_max;
  for (int times = 0; times < 2; ++times) {
    bus.ask("s", wire::GroupCreateT(create));
    bus.run();
  }
  return said(bus, "s");
}

// With a dead letter that nobody has said may go.
std::set<Code> remove_with_letters() {
  Harness bus;
  bus.hello("s", "p");
  bus.publish("s", 1, {encode(event())});
  bus.send("s", subscribe(1, "g"));
  bus.run();
  wire::SettleT settle;
  settle.subscription = 1;
  settle.epoch = bus.take<wire::DeliverT>("s").at(0).epoch;
  settle.settlements.emplace_back(1, 1, 0, wire::Verdict::reject);
  bus.send("s", settle);
  bus.run();
  wire::GroupRemoveT remove;
  remove.name = "g";
  bus.ask("s", std::move(remove));
  bus.run();
  return said(bus, "s");
}

// One byte of the event changes on disk.
std::set<Code> read_damaged() {
  Harness bus;
  const std::string text(5000, 'q');
  auto one = event();
  one.payload = test::notification(text);
  bus.hello("p", "alpha");
  bus.publish("p", 1, {encode(one)});
  bus.run();
  bus.crash([&](const std::filesystem::path& data) {
    std::fstream file(data / "log" / "data.mdb", std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    for (auto at = bytes.find(text); at != std::string::npos; at = bytes.find(text, at + text.size())) {
      file.clear();
      file.seekp(static_cast<std::streamoff>(at));
      file.put('z');
    }
  });
  bus.hello("s");
  bus.send("s", subscribe(1, "", wire::Start::start));
  bus.run();
  EXPECT_TRUE(bus.take<wire::DeliverT>("s").empty());
  bus.send("s", subscribe(2, "", wire::Start::start));
  bus.run();
  return said(bus, "s");
}

struct Line {
  Code code;
  std::function<std::set<Code>()> provoke;
};

const std::vector<Line>& table() {
  static const std::vector<Line> lines = {
      {Code::malformed, send_garbage},
      {Code::unsupported_version, [] { return hello(2); }},
      {Code::unknown_session, [] { return first_message(subscribe(1)); }},
      {Code::too_many_sessions, too_many_sessions},
      {Code::bad_event, [] { return publish_changed([](auto& one) { one.id.clear(); }); }},
      {Code::bad_topic, [] { return publish_changed([](auto& one) { one.topic = "a.*"; }); }},
      {Code::bad_key, [] { return publish_changed([](auto& one) { one.key = std::string(256, 'k'); }); }},
      {Code::unknown_type, [] { return publish_changed([](auto& one) { one.type = "no.Such"; }); }},
      {Code::bad_payload, [] { return publish_changed([](auto& one) { one.payload.assign(32, 0xff); }); }},
      {Code::event_too_large, too_large},
      {Code::skipped, [] { return publish_one(test::skipped()); }},
      {Code::unknown_topic, publish_where_topics_are_created},
      {Code::type_not_admitted, publish_what_is_not_admitted},
      {Code::too_many_topics, [] {
         return publish_at_limit([](State& state, Schedule&) { fill_names(state.topics, limits::topics_max); }, event("new.topic"));
       }},
      {Code::schedule_full, [] {
         return publish_at_limit([](State&, Schedule& schedule) { schedule.start(limits::schedule_max); }, scheduled_event());
       }},
      {Code::batch_too_large, [] { return batch(1, limits::batch_bytes_max + 8); }},
      {Code::sequence_gap, [] { return batch(2, 0); }},
      {Code::busy, fill_window},
      {Code::log_full, fill_disk},
      {Code::publisher_fenced, be_fenced},
      {Code::no_publisher, [] {
         Harness bus;
         bus.hello("p");
         bus.publish("p", 1, {encode(event())});
         return said(bus, "p");
       }},
      {Code::bad_publisher, [] { return hello(wire::protocol_version, std::string(129, 'p')); }},
      {Code::too_many_publishers, [] {
         return publish_at_limit([](State& state, Schedule&) { fill_names(state.publishers, limits::publishers_max); }, event());
       }},
      {Code::refused_before, resend_refused},
      {Code::step_refused, refuse_a_step},
      {Code::bad_pattern, [] { return filtered("a..b", "t"); }},
      {Code::bad_filter, [] { return filtered("a", std::string(256, 't')); }},
      {Code::bad_group, [] { return in_session(subscribe(1, "a group")); }},
      {Code::unknown_group, [] { return seek_group("nobody"); }},
      {Code::group_mismatch, join_with_another_filter},
      {Code::group_busy, remove_with_letters},
      {Code::bad_settings, [] { return create_group(limits::open_max + 1); }},
      {Code::group_exists, [] { return create_group(1); }},
      {Code::group_removed, lose_group},
      {Code::too_many_subscriptions, many_subscriptions},
      {Code::too_many_groups, many_groups},
      {Code::unknown_subscription, [] {
         wire::UnsubscribeT message;
         message.subscription = 7;
         return in_session(message);
       }},
      {Code::subscription_exists, same_number},
      {Code::stale_ack, [] { return settle(1, 2); }},
      {Code::not_delivered, [] { return settle(9, 1); }},
      {Code::not_scheduled, cancel_nothing},
      {Code::not_found, [] { return ask(wire::EventGetT()); }},
      {Code::beyond_end, start_beyond_end},
      {Code::bad_request, ask_nothing},
      {Code::damaged, read_damaged},
      {Code::incompatible_schema, register_what_breaks},
      {Code::shutting_down, publish_draining},
  };
  return lines;
}

class CodeTest : public ::testing::TestWithParam<std::size_t> {};

TEST_P(CodeTest, IsAnswered) {
  const Line& line = table()[GetParam()];
  EXPECT_EQ(line.provoke(), std::set<Code>{line.code}) << EnumNameCode(line.code);
}

TEST(Codes, TheScheduleTakesAsManyAsItMay) {
  EXPECT_EQ(publish_at_limit([](State&, Schedule& schedule) { schedule.start(limits::schedule_max - 1); }, scheduled_event()), std::set<Code>{});
}

INSTANTIATE_TEST_SUITE_P(Codes, CodeTest, ::testing::Range(std::size_t{0}, table().size()),
                         [](const auto& one) { return EnumNameCode(table()[one.param].code); });

TEST(Codes, AreAllEitherInTheTableOrNotReachable) {
  std::set<Code> here = unreachable;
  for (const Line& line : table()) EXPECT_TRUE(here.insert(line.code).second) << EnumNameCode(line.code) << " twice";
  for (const Code code : EnumValuesCode()) {
    EXPECT_TRUE(code == Code::ok || here.contains(code)) << EnumNameCode(code) << " has no line";
  }
}

}  // namespace
}  // namespace bus::broker
