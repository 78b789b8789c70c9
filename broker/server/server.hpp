// Server is the shell around the core: it owns the socket, the clocks, the signals and the two worker threads, and runs
// the loop. The order of the steps of one turn is the durability contract.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/core/core.hpp"
#include "broker/server/config.hpp"
#include "broker/server/socket.hpp"
#include "broker/server/worker.hpp"

namespace bus::broker {

class Server {
 public:
  // Opens the store, recovers, and listens. Errors: locked, bad_format, damaged, disk_error, denied, …
  static Result<std::unique_ptr<Server>> start(const Config& config, const PayloadTypes& types);
  ~Server();

  // Serves until SIGTERM or SIGINT, then drains: no more publishes, everything staged committed, receipts sent. A
  // failed commit ends the process here, at once; but that the disk is full is no failure of an orderly end.
  void run();

 private:
  Server(const Config& config, std::unique_ptr<store::Store> store);
  Result<void> recover(const PayloadTypes& types);
  Result<void> listen();

  void receive(Now now);
  void collect(Now now);
  void hand_over(Now now);
  void send();
  void wait(SteadyTime until);
  void take_signal();
  void drain();
  void commit_last();
  void commit(store::CommitBatch batch);
  void finish_commit();
  void say_health(Now now);

  const Config& config_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<RouterSocket> socket_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<ReadWorker> reader_;
  int wake_fd_ = -1, signal_fd_ = -1;
  bool messages_waiting_ = false, peers_gone_ = false, stopping_ = false, was_full_ = false;
  std::optional<Error> unsaved_;         // why the last commits were not made, at the end
  SteadyTime next_probe_, next_watchdog_;
  Duration watchdog_interval_{};
};

Now read_clocks();

}  // namespace bus::broker
