// SimOperator asks for everything an operator can ask, moves and removes groups now and then, and sometimes sends what is
// no message at all. Every request of a session that lasts is answered.
#pragma once

#include <set>

#include "tests/sim/client.hpp"

namespace bus::sim {

class SimOperator final : public SimClient {
 public:
  SimOperator(Env& env, const std::string& name, std::vector<std::string> groups)
      : SimClient(env, name), groups_(std::move(groups)), meddles_(env.random.percent(30)), erases_(env.random.percent(60)) {}
  bool done() const override { return waiting_.empty(); }
  std::string state() const override { return name_ + " waits for " + std::to_string(waiting_.size()) + " answers"; }

 private:
  void begin(const wire::Welcome&) override {}
  void take(const wire::Message& message, Bytes body) override;
  void work() override;
  void end() override { waiting_.clear(); }

  void ask(wire::AskUnion what);
  wire::AskUnion seek();
  wire::AskUnion remove();
  wire::AskUnion edit();
  wire::AskUnion settle_letters();
  wire::AskUnion question();
  wire::AskUnion schedule_question();
  wire::AskUnion snapshot_question();
  void send_garbage();

  const std::vector<std::string> groups_;
  const bool meddles_;                   // moves and removes groups all the time
  const bool erases_;                    // snapshots
  std::set<std::uint64_t> waiting_;
  std::uint64_t next_request_ = 1;
};

}  // namespace bus::sim
