// SimLibrary is libbus in the simulated network: its Outbox and ClientCore, driven as Connection drives them. It publishes,
// reads everything from the start without a group, and works for a group; and it holds libbus to what it promises: each
// event gets one receipt, which is true; a plain subscription sees every event once and in order, whatever breaks.
#pragma once

#include <deque>
#include <vector>

#include "src/client_core.hpp"
#include "tests/sim/client.hpp"

namespace bus::sim {

class SimLibrary : public Actor {
 public:
  SimLibrary(Env& env, std::string name, std::uint64_t quota);
  void act() override;
  bool done() const override;
  std::string state() const override;

 private:
  class Reading;
  void take_message();
  void publish();
  void answered(std::uint64_t sequence, const Result<Receipt>& receipt);
  void use_events();
  void turn();

  Env& env_;
  const std::string name_;
  const std::uint64_t quota_;
  Outbox outbox_;
  ClientCore core_;
  std::shared_ptr<Link> link_;
  bool welcomed_ = false;
  std::vector<bool> answered_;                 // by sequence - 1
  std::shared_ptr<Reading> plain_, member_;
  std::uint64_t last_position_ = 0;            // of the plain subscription
  std::uint64_t asked_ = 0, replied_ = 0;
};

}  // namespace bus::sim
