// CoreDriver runs the real core on the real store, on one thread: what the core wants committed or read is done at once
// by turn(). Time stands still unless it is moved.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "broker/core/core.hpp"
#include "tests/support/samples.hpp"
#include "tests/support/store_dir.hpp"

namespace bus::testing {

class CoreDriver {
 public:
  explicit CoreDriver(const store::Options& options, const broker::PayloadTypes& types)
      : options_(options), store_(store::Store::open(options).value()), reader_(store_->reader()),
        core_({.about = {"test", "data", {}}, .secret = 1, .reserve_bytes = options.reserve_bytes}, types, store_->identity()) {
    core_.set_space(store_->space());
    core_.recover(*store_, now).value();
  }

  void receive(const broker::Peer& peer, std::vector<Buffer> frames) {
    std::vector<Frame> owned;
    for (auto& frame : frames) owned.push_back(Frame::of(std::move(frame)));
    core_.receive(peer, owned, now);
  }
  template <typename Message>
  void send(const broker::Peer& peer, const Message& message) {
    receive(peer, {wire::encode(message)});
    turn();
  }
  void publish(const broker::Peer& peer, std::uint64_t first_sequence, std::uint64_t fence,
               const std::vector<Buffer>& events) {
    wire::PublishT publish;
    publish.first_sequence = first_sequence;
    publish.count = static_cast<std::uint32_t>(events.size());
    publish.fence = fence;
    receive(peer, {wire::encode(publish), join(events)});
    turn();
  }
  // Until the core asks for nothing more; `all`: also commits what could wait.
  void turn(bool all = false) {
    for (bool is_busy = true; is_busy;) {
      is_busy = false;
      core_.tick(now);
      for (const auto& request : core_.take_reads()) {
        core_.read_done(broker::perform(*reader_, request));
        is_busy = true;
      }
      if (auto batch = core_.take_batch(now, all)) {
        commit(*batch);
        is_busy = true;
      }
    }
    for (auto& message : core_.take_outgoing()) outgoing_.push_back(std::move(message));
  }
  // A checkpoint of everything, as at the end of a life.
  void checkpoint() { commit(core_.take_final_batch(now)); }

  std::vector<broker::Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }
  broker::Core& core() { return core_; }
  store::Store& store() { return *store_; }

  Now now{wall_time(1'700'000'001'000'000'000), SteadyTime{std::chrono::seconds(1'000)}};

 private:
  void commit(const store::CommitBatch& batch) {
    store_->commit(batch).value();
    core_.set_space(store_->space());
    core_.committed(now.steady);
  }

  store::Options options_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::LogReader> reader_;
  broker::Core core_;
  std::vector<broker::Outgoing> outgoing_;
};

}  // namespace bus::testing
