// Shell drives the core and the store as the server does, but on one thread and in pieces: what the server's other threads
// would do happens here bit by bit, when the dice say so. Clients, time and the network are the world's.
//
//   taken ──apply()──> on disk ──report()──> committed() of the core      a commit
//   asked ──perform()──> answered ──> read_done() of the core            a read, in any order, or in that in which they were asked for
#pragma once

#include <memory>
#include <optional>
#include <set>

#include "broker/core/core.hpp"
#include "tests/sim/ledger.hpp"
#include "tests/sim/network.hpp"
#include "tests/support/temp_dir.hpp"

namespace bus::sim {

class Shell {
 public:
  Shell(const broker::PayloadTypes& types, Random& random, Network& network, Ledger& ledger, Fault fault)
      : types_(types), random_(random), network_(network), ledger_(ledger), fault_(fault) {
    // Some disks are too small for what is published.
    if (random_.percent(20)) map_bytes_ = random_.between(2300, 3500) * limits::KiB;
  }

  // Opens the store and recovers.
  void start(Now now);
  // The process dies: of a batch that was taken, either all is on disk or nothing.
  void crash();
  // The process is told to stop: everything staged is committed, and a last checkpoint.
  void stop(Now now);
  // As the server's reader thread takes them, on which retention and backups rely. Without it any order is tried.
  void keep_reads_in_order() { reads_in_order_ = true; }
  // From the next start on there is space for everything.
  void enlarge_disk() { map_bytes_ = limits::map_bytes_min; }
  // Some of what a turn of the server does.
  void turn(Now now);
  // All of it: messages in and out, reads, commits.
  void whole_turn(Now now);

  const broker::Core& core() const { return *core_; }
  // Reads are on their way.
  bool reading() const { return !asked_.empty() || !answered_.empty(); }
  // Every byte of the log and every row of every table.
  void check_store() const { check_whole(*reader_, nullptr); }
  // A log that was restored there from a backup: what it has, every byte, and that a broker comes up on it.
  void check_restored(const std::filesystem::path& dir, const Ledger::Moment& moment, Now now) const;

 private:
  void check_whole(store::LogReader& reader, const Ledger::Moment* moment) const;
  void receive(Now now);
  void apply();
  void report(Now now);
  void perform_reads(bool all);
  void report_reads(bool all);
  void hand_over(Now now, bool all);
  void send();
  void fill();

  const broker::PayloadTypes& types_;
  Random& random_;
  Network& network_;
  Ledger& ledger_;
  Fault fault_;
  bool reads_in_order_ = false;
  test::TempDir dir_;
  std::size_t map_bytes_ = limits::map_bytes_min;
  unsigned starts_ = 0;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::LogReader> reader_;
  std::unique_ptr<broker::Core> core_;
  std::optional<store::CommitBatch> batch_;    // taken and not reported
  bool applied_ = false;
  bool forgot_ = false;                        // of Fault::forgotten_commit
  std::vector<broker::ReadRequest> asked_;
  std::vector<broker::ReadResult> answered_;
  std::set<std::shared_ptr<const void>> seen_; // headers that wait in an outbox: the ledger has seen them leave
};

}  // namespace bus::sim
