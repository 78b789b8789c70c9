// RetentionCase is a test that publishes, sets policies, lets time pass and looks at what is left.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support/harness.hpp"

namespace bus::broker {

using namespace std::chrono_literals;

class RetentionCase : public ::testing::Test {
 protected:
  RetentionCase() { greet(); }
  void greet() {
    bus.hello("p", "publisher");
    bus.hello("op");
  }
  // One commit.
  void publish(const std::string& topic, std::size_t count, const std::string& key = "", const std::string& text = "text") {
    std::vector<Buffer> events;
    for (std::size_t at = 0; at < count; ++at) {
      auto event = test::event(topic, key);
      event.payload = test::notification(text);
      events.push_back(test::encode(event));
    }
    bus.publish("p", next_, events);
    next_ += count;
    bus.run();
    for (const auto& failure : bus.take<wire::FailureT>("p")) FAIL() << failure.detail;
  }
  // As time passes, sessions that say nothing would end.
  void advance(Duration passed) {
    bus.advance(passed);
    for (const auto* peer : {"p", "op", "m"}) bus.send(peer, wire::PingT());
    bus.run();
    bus.take<wire::PongT>("p");
  }
  template <typename Ask>
  std::optional<Code> refused(Ask ask) {
    bus.ask("op", std::move(ask));
    bus.run();
    const auto failures = bus.failures("op");
    bus.take<wire::ReplyT>("op");
    return failures.empty() ? std::nullopt : std::optional(failures.back());
  }
  static wire::RetentionPolicyT policy(const std::string& pattern) {
    wire::RetentionPolicyT policy;
    policy.pattern = pattern;
    return policy;
  }
  std::optional<Code> set(const wire::RetentionPolicyT& policy) {
    wire::RetentionSetT ask;
    ask.policy = std::make_unique<wire::RetentionPolicyT>(policy);
    return refused(std::move(ask));
  }
  std::optional<Code> hold(const std::string& pattern, const std::string& key = "", const std::string& reason = "a case in court") {
    wire::LegalHoldSetT ask;
    ask.hold = std::make_unique<wire::LegalHoldT>();
    ask.hold->pattern = pattern;
    ask.hold->key = key;
    ask.hold->reason = reason;
    return refused(std::move(ask));
  }
  std::optional<Code> release(const std::string& pattern, const std::string& key = "") {
    wire::LegalHoldReleaseT ask;
    ask.pattern = pattern;
    ask.key = key;
    return refused(std::move(ask));
  }
  wire::RetentionReplyT state() { return answer<wire::RetentionReplyT>(wire::RetentionRequestT{}); }
  template <typename Reply, typename Ask>
  Reply answer(Ask ask) {
    bus.ask("op", std::move(ask));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("op");
    BUS_CHECK(!replies.empty() && replies.back().answer.value != nullptr);
    return std::move(*static_cast<Reply*>(replies.back().answer.value));
  }
  // To its end.
  wire::RetentionReplyT run(bool dry = false) {
    settle_down();
    wire::RetentionRunT ask;
    ask.dry_run = dry;
    EXPECT_EQ(refused(std::move(ask)), std::nullopt);
    settle_down();
    return state();
  }
  // A run is under way, and has committed some of what it does.
  void begin_run() {
    bus.ask("op", wire::RetentionRunT());
    const auto removed = [this] { return bus.core->state().topics[1].removed_events; };
    const auto before = removed();
    for (int step = 0; step < 100 && removed() == before; ++step) {
      bus.advance(RetentionPace::patience);
      bus.core->tick(bus.now);
      bus.read();
      bus.commit();
    }
  }
  void settle_down() {
    for (int turns = 0; turns < 1000; ++turns) {
      bus.run();
      if (!state().run->running) return;
      advance(RetentionPace::patience);
    }
    FAIL() << "the run does not end";
  }
  // Positions that a plain subscription gets, from the start.
  struct Seen {
    std::vector<std::uint64_t> positions;
    std::uint64_t trimmed_events = 0, trimmed_to = 0;
  };
  Seen read(const std::string& pattern = ">") {
    bus.hello("reader");
    auto ask = test::subscribe(1, "", wire::Start::start);
    ask.credit_events = 10'000;
    ask.credit_bytes = 16 * limits::MiB;
    ask.filter = std::make_unique<wire::FilterT>();
    ask.filter->patterns = {pattern};
    ask.to = wire::Start::end;
    bus.send("reader", ask);
    Seen seen;
    for (bool is_over = false; !is_over;) {
      bus.run();
      wire::CreditT more;
      more.subscription = 1;
      for (const auto& one : bus.received("reader")) {
        if (const auto* deliver = one.message->body.AsDeliver()) {
          for (const auto& delivery : deliver->deliveries) seen.positions.push_back(delivery.position());
          more.events += static_cast<std::uint32_t>(deliver->deliveries.size());
          more.bytes += static_cast<std::uint32_t>(one.body.size());
        }
        const auto* end = one.message->body.AsSubscriptionEnd();
        if (end == nullptr) continue;
        EXPECT_EQ(end->code, Code::ok) << end->detail;
        seen.trimmed_events = end->trimmed_events;
        seen.trimmed_to = end->trimmed_to;
        is_over = true;
      }
      bus.take<wire::PingT>("reader");
      if (more.events > 0) bus.send("reader", more);
    }
    bus.core->gone("reader");
    return seen;
  }
  std::vector<std::uint64_t> left(const std::string& pattern = ">") { return read(pattern).positions; }
  static wire::RetentionPolicyT at_most(const std::string& pattern, std::uint64_t events) {
    auto one = policy(pattern);
    one.max_events = events;
    return one;
  }
  static wire::RetentionPolicyT not_older(const std::string& pattern, Duration age) {
    auto one = policy(pattern);
    one.max_age_ms = static_cast<std::uint64_t>(age / 1ms);
    return one;
  }
  static wire::RetentionPolicyT latest(const std::string& pattern, Duration after = 0s) {
    auto one = policy(pattern);
    one.latest_per_key = true;
    one.latest_after_ms = static_cast<std::uint64_t>(after / 1ms);
    return one;
  }
  void join(const std::string& group, const std::string& pattern, const Peer& peer = "m") {
    bus.hello(peer);
    auto ask = test::subscribe(1, group, wire::Start::start);
    ask.filter = std::make_unique<wire::FilterT>();
    ask.filter->patterns = {pattern};
    ask.credit_events = 1000;
    ask.credit_bytes = 1 << 20;
    bus.send(peer, ask);
    bus.run();
  }
  void settle(std::uint64_t position, wire::Verdict verdict, const Peer& peer = "m") {
    wire::SettleT message;
    message.subscription = 1;
    message.epoch = epoch_;
    message.settlements.emplace_back(position, 1, 0, verdict);
    bus.send(peer, message);
    bus.run();
  }
  std::vector<std::uint64_t> delivered(const Peer& peer = "m") {
    std::vector<std::uint64_t> all;
    for (const auto& deliver : bus.take<wire::DeliverT>(peer)) {
      epoch_ = deliver.epoch;
      for (const auto& one : deliver.deliveries) all.push_back(one.position());
    }
    return all;
  }
  static std::vector<std::uint64_t> range(std::uint64_t first, std::uint64_t last) {
    std::vector<std::uint64_t> all;
    for (; first <= last; ++first) all.push_back(first);
    return all;
  }
  wire::TopicInfoT topic(const std::string& name) {
    wire::TopicsRequestT ask;
    ask.name = name;
    auto reply = answer<wire::TopicsReplyT>(std::move(ask));
    return std::move(*reply.topics.at(0));
  }

  test::Harness bus;
  std::uint64_t next_ = 1;
  std::uint64_t epoch_ = 0;               // of the last Deliver
};

}  // namespace bus::broker
