// SimReader holds plain subscriptions: one that follows the log for the whole run, across sessions, and replays of ranges.
// Each must see every matching event once, in order, and nothing else.
#pragma once

#include <map>

#include "tests/sim/client.hpp"

namespace bus::sim {

class SimReader final : public SimClient {
 public:
  SimReader(Env& env, const std::string& name, std::string pattern)
      : SimClient(env, name), pattern_(std::move(pattern)), greedy_(env.random.percent(40)) {}
  bool done() const override;
  std::string state() const override;

 private:
  struct Reading {
    std::string pattern;
    std::uint64_t seen = 0;              // everything up to here was received, or does not match
    std::uint64_t to = 0;                // 0: no end
    std::uint64_t credit = 0;
    bool follows = false;                // the one of the whole run
    bool begun = false;
    std::vector<std::uint64_t> missed = {};  // what it wants and retention has removed before it came
  };
  void begin(const wire::Welcome& welcome) override;
  void take(const wire::Message& message, Bytes body) override;
  void work() override;
  void end() override { readings_.clear(); }

  void follow();
  void replay();
  void subscribe(Reading reading, wire::SubscribeT message);
  void take_subscribed(const wire::Subscribed& message);
  void take_deliver(const wire::Deliver& message, Bytes body);
  void take_end(const wire::SubscriptionEnd& message);
  // Everything in (seen, position) was received, or removed; `what` happened at position.
  void pass(Reading& reading, std::uint64_t position, const char* what) const;
  // The broker has told what it passed over as removed: neither less than what was missed up to here, nor more than there is up to `last`.
  void check_notice(const Reading& reading, std::uint64_t last, std::uint64_t events, std::uint64_t to) const;

  const std::string pattern_;
  const bool greedy_;                    // gives all its credit at once, and no more
  std::map<std::uint32_t, Reading> readings_;
  std::uint32_t next_id_ = 1;
  std::uint64_t followed_ = 0;           // by the subscription that follows, over all sessions
};

}  // namespace bus::sim
