// World is one run: a broker, its clients, the network between them, and time, all from one seed. First the dice decide
// what happens next; then, in the calm at the end, faults stop and everything has to come to its end.
#pragma once

#include <memory>
#include <vector>

#include "tests/sim/client.hpp"
#include "tests/sim/shell.hpp"

namespace bus::sim {

class SimKeeper;
class SimSaver;

class World {
 public:
  World(const broker::PayloadTypes& types, std::uint64_t seed, Fault fault = Fault::none);
  // Throws Violation at the first broken promise.
  void run();
  std::uint64_t events() const { return ledger_.head(); }
  const Ledger::Figures& figures() const { return ledger_.figures(); }

 private:
  void step();
  void pass_time();
  void restart();
  void add_keeper(bool with_library);
  void check_backup();
  void settle();
  void come_to_end();
  bool settled() const;
  std::string unsettled() const;

  Random random_;
  Ledger ledger_;
  Network network_;
  Shell shell_;
  Now now_;
  const bool has_hours_;                 // time passes by hours, too: transient names go to others meanwhile
  const bool has_retention_, has_backups_;
  bool calm_ = false;
  Env env_;
  std::vector<std::unique_ptr<Actor>> clients_;
  SimKeeper* keeper_ = nullptr;          // of clients_; null: all events are kept
  SimSaver* saver_ = nullptr;            // of clients_; null: there are no backups
};

}  // namespace bus::sim
