// ScheduleTest publishes events that are due later, and reads the log and the schedule. For tests of the core.
#pragma once

#include <gtest/gtest.h>

#include "tests/support/harness.hpp"

namespace bus::broker {

using namespace std::chrono_literals;
using test::encode;
using test::Harness;

class ScheduleTest : public ::testing::Test {
 protected:
  ScheduleTest() { connect(); }
  void connect() {
    bus.hello("p", "alpha");
    bus.hello("m");
  }
  Buffer in(Duration delay, const std::string& topic = "t", const std::string& key = "") {
    auto event = test::event(topic, key);
    event.id = topic + "-" + key;
    event.deliver_at = nanoseconds(bus.now.wall + delay);
    return encode(event);
  }
  wire::PublishResultT publish(const std::vector<Buffer>& events, std::uint64_t first = 0) {
    if (first == 0) first = std::exchange(next_, next_ + events.size());
    bus.publish("p", first, events);
    bus.run();
    auto results = bus.take<wire::PublishResultT>("p");
    EXPECT_EQ(results.size(), 1u);
    return results.empty() ? wire::PublishResultT() : std::move(results[0]);
  }
  void pass(Duration time) {
    bus.advance(time);
    bus.run();
  }
  // The log from its start: topic, publisher's sequence, version.
  struct Line {
    std::string topic;
    std::uint64_t sequence, version;
    bool operator==(const Line&) const = default;
  };
  std::vector<Line> log() {
    bus.hello("r");
    auto all = test::subscribe(1, "", wire::Start::start);
    bus.send("r", all);
    bus.run();
    std::vector<Line> lines;
    for (const auto& one : bus.received("r")) {
      const auto* deliver = one.message->body.AsDeliver();
      if (deliver == nullptr) continue;
      wire::EventCursor bodies(one.body);
      for (const auto& event : deliver->deliveries) {
        const auto body = bodies.next().value();
        const Buffer copy(body.begin(), body.end());
        lines.push_back({wire::trusted_event(copy)->topic()->str(), event.sequence(), event.version()});
      }
    }
    bus.take<wire::DeliverT>("r");
    return lines;
  }
  template <typename Reply, typename Ask>
  Reply answer(Ask ask) {
    bus.ask("m", std::move(ask));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("m");
    const bool is_there = !replies.empty() && replies.back().answer.type == wire::AnswerUnionTraits<Reply>::enum_value;
    EXPECT_TRUE(is_there);
    return is_there ? std::move(*static_cast<Reply*>(replies.back().answer.value)) : Reply();
  }
  template <typename Ask>
  Code refusal(Ask ask) {
    bus.ask("m", std::move(ask));
    bus.run();
    const auto codes = bus.failures("m");
    return codes.empty() ? Code::ok : codes[0];
  }
  static std::unique_ptr<wire::ScheduleIdT> id(std::uint64_t sequence, const std::string& publisher = "alpha") {
    auto id = std::make_unique<wire::ScheduleIdT>();
    id->publisher = publisher;
    id->sequence = sequence;
    return id;
  }
  template <typename Ask>
  static Ask about(std::uint64_t sequence, const std::string& publisher = "alpha") {
    Ask ask;
    ask.id = id(sequence, publisher);
    return ask;
  }
  std::vector<Code> cancel(const std::vector<std::uint64_t>& sequences) {
    wire::ScheduleCancelT ask;
    for (const auto sequence : sequences) ask.ids.push_back(id(sequence));
    return answer<wire::ScheduleCancelledT>(std::move(ask)).codes;
  }
  std::vector<std::uint64_t> listed(const std::function<void(wire::ScheduleRequestT&)>& narrow = {}) {
    std::vector<std::uint64_t> sequences;
    std::vector<std::uint8_t> after;
    do {
      wire::ScheduleRequestT ask;
      ask.filter = std::make_unique<wire::FilterT>();
      if (narrow) narrow(ask);
      ask.after = after;
      const auto reply = answer<wire::ScheduleReplyT>(std::move(ask));
      for (const auto& event : reply.events) sequences.push_back(event->id->sequence);
      after = reply.more;
    } while (!after.empty());
    return sequences;
  }
  std::uint64_t waiting() { return answer<wire::StatusReplyT>(wire::StatusRequestT()).scheduled; }

  Harness bus;
  std::uint64_t next_ = 1;
};

}  // namespace bus::broker
