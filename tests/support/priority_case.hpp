// PriorityTest publishes events of each priority, and reads them as a member of one group. For tests of the core.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "tests/support/harness.hpp"

namespace bus::broker {

using namespace std::chrono_literals;
using test::Harness;
using wire::Priority;
using List = std::vector<std::uint64_t>;

class PriorityTest : public ::testing::Test {
 protected:
  PriorityTest() {
    bus.hello("p", "alpha");
    bus.hello("m");
  }
  void publish(Priority priority, std::size_t count = 1, const std::string& key = "", std::size_t bytes = 10, const std::string& topic = "t") {
    std::vector<Buffer> events;
    for (std::size_t at = 0; at < count; ++at) {
      auto event = test::event(topic, key);
      event.priority = priority;
      event.payload = test::notification(std::string(bytes, 'x'));
      events.push_back(test::encode(event));
    }
    bus.publish("p", next_, events);
    next_ += count;
    bus.run();
  }
  void join(std::uint32_t credit, wire::Sharing sharing = wire::Sharing::round_robin, const std::string& pattern = ">") {
    auto member = test::subscribe(1, "g", created_ ? wire::Start::unspecified : wire::Start::start);
    created_ = true;
    member.credit_events = credit;
    member.filter = std::make_unique<wire::FilterT>();
    member.filter->patterns = {pattern};
    member.settings = std::make_unique<wire::GroupSettingsT>();
    member.settings->sharing = sharing;
    member.settings->retry_delay_ms = 0;
    member.settings->attempts_max = GroupSettings::unlimited;
    bus.send("m", member);
    bus.run();
  }
  void credit(std::uint32_t events) {
    wire::CreditT more;
    more.subscription = 1;
    more.events = events;
    more.bytes = limits::credit_bytes_max / 2;
    bus.send("m", more);
    bus.run();
  }
  std::vector<std::uint64_t> delivered() {
    std::vector<std::uint64_t> all;
    for (const auto& deliver : bus.take<wire::DeliverT>("m")) {
      epoch_ = deliver.epoch;
      for (const auto& one : deliver.deliveries) {
        all.push_back(one.position());
        attempts_[one.position()] = one.attempt();
      }
    }
    return all;
  }
  void settle(const std::vector<std::uint64_t>& positions, wire::Verdict verdict = wire::Verdict::ack) {
    wire::SettleT message;
    message.subscription = 1;
    message.epoch = epoch_;
    message.request = 1;
    for (const auto position : positions) message.settlements.emplace_back(position, attempts_.at(position), 0, verdict);
    bus.send("m", message);
    bus.run();
  }
  static wire::GroupEditT sharing(wire::Sharing sharing) {
    wire::GroupEditT edit;
    edit.name = "g";
    edit.settings = std::make_unique<wire::GroupSettingsT>();
    edit.settings->sharing = sharing;
    return edit;
  }
  void edit(wire::Sharing to) {
    bus.ask("p", sharing(to));
    bus.run();
  }
  void back() {
    bus.hello("p", "alpha");
    bus.hello("m");
  }
  wire::GroupInfoT group() {
    wire::GroupsRequestT ask;
    ask.name = "g";
    bus.ask("p", std::move(ask));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("p");
    return std::move(*replies.back().answer.AsGroupsReply()->groups.at(0));
  }
  static std::vector<std::uint64_t> range(std::uint64_t from, std::uint64_t to) {
    std::vector<std::uint64_t> all;
    for (; from <= to; ++from) all.push_back(from);
    return all;
  }

  Harness bus;
  std::map<std::uint64_t, std::uint32_t> attempts_;
  std::uint64_t next_ = 1, epoch_ = 0;
  bool created_ = false;
};

}  // namespace bus::broker
