// SimLibrary is libbus in the simulated network: its Outbox and ClientCore, driven as Connection drives them. It publishes,
// reads everything from the start without a group, and works for a group; and it holds libbus to what it promises: each
// event gets one receipt, which is true; a plain subscription sees every event once and in order, whatever breaks.
#pragma once

#include <deque>
#include <vector>

#include "tests/sim/library_link.hpp"

namespace bus::sim {

class SimLibrary : public Actor {
 public:
  // `transient`: it publishes under a name that the broker gives.
  SimLibrary(Env& env, std::string name, std::uint64_t quota, bool transient);
  void act() override;
  bool done() const override;
  std::string state() const override;

 private:
  class Reading;
  void publish();
  void answered(std::size_t at, const Result<Receipt>& receipt);
  void use_events();
  void ask();

  Env& env_;
  const std::string name_;
  const std::uint64_t quota_;
  Outbox outbox_;
  ClientCore core_;
  LibraryLink link_;
  std::string publisher_;                      // as the first Welcome says
  std::uint64_t before_ = 0;                   // the last sequence then
  std::vector<bool> answered_;
  std::shared_ptr<Reading> plain_, member_;
  std::uint64_t last_position_ = 0;            // of the plain subscription
  std::uint64_t asked_ = 0, replied_ = 0;
};

}  // namespace bus::sim
