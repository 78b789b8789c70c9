// Harness is a broker for unit tests: the real core on the real store in a temporary directory, without threads, sockets
// or clocks. Commits and reads happen when run() is called; time moves when the test says so. What the core sends is kept
// for each peer until it is taken.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/core/core.hpp"
#include "tests/support/events.hpp"
#include "tests/support/temp_dir.hpp"

namespace bus::test {

using namespace std::chrono_literals;

struct Received {
  std::unique_ptr<wire::MessageT> message;
  Buffer body;
};

class Harness {
 public:
  Harness() { start(); }

  // ---- the broker
  void start() {
    store::Options options;
    options.dir = dir_.path() / "data";
    options.map_bytes = map_bytes;
    options.fill_ahead_bytes = fill_ahead_bytes;
    options.reserve_bytes = 1 * limits::MiB;
    store_ = store::Store::open(options).value();
    reader_ = store_->reader();
    broker::CoreOptions core_options{{"test", "data", {"ipc://test"}}, 1, options.reserve_bytes};
    core = std::make_unique<broker::Core>(core_options, types(), store_->identity());
    core->set_space(store_->space());
    core->recover(*store_, now).value();
  }
  // The process dies: what was not committed is lost. `meanwhile` may change the files of the data directory.
  void crash(const std::function<void(const std::filesystem::path& data)>& meanwhile = {}) {
    core.reset();
    reader_.reset();
    store_.reset();
    batch_.reset();
    if (meanwhile) meanwhile(dir_.path() / "data");
    start();
  }
  // With a checkpoint of everything, so that nothing is left to replay.
  void restart() {
    run();
    finish();
    crash();
  }
  // The last commits of a life.
  void finish(std::size_t commits = limits::key_shards / limits::final_steps) {
    for (; commits > 0; --commits) {
      store_->commit(core->take_final_batch(now, limits::final_steps)).value();
      core->committed(now.steady);
    }
  }

  // ---- steps
  // Until nothing more happens by itself.
  void run() {
    for (int turn = 0; turn < 100; ++turn) {
      const bool has_more = core->tick(now) <= now.steady;
      const bool worked = read() | commit();
      collect();
      if (!worked && !has_more) return;
    }
  }
  // Answers the reads that were asked for.
  bool read() { return answer(core->take_reads()); }
  bool answer(const std::vector<broker::ReadRequest>& asked) {
    for (const auto& request : asked) {
      const auto error = read_fault ? read_fault(request.ask) : std::nullopt;
      core->read_done(error ? broker::ReadResult{request.id, *error} : broker::perform(*reader_, request));
    }
    return !asked.empty();
  }
  // What a read fails with, if it does.
  std::function<std::optional<Error>(const broker::ReadAsk&)> read_fault;
  Hash128 key_hash(std::string_view key) const { return hash128(bytes_of(key), store_->identity().secret); }
  // The next batch goes to the disk, but the core is not told.
  bool take() {
    if (!batch_) batch_ = core->take_batch(now);
    return batch_.has_value();
  }
  bool commit() {
    if (!take()) return false;
    store_->commit(*batch_).value();
    batch_.reset();
    core->committed(now.steady);
    core->set_space(store_->space());
    return true;
  }
  void advance(Duration passed) {
    now.steady += passed;
    now.wall += passed;
  }

  // ---- messages
  template <typename T>
  void send(const broker::Peer& peer, const T& message, Buffer body = {}) {
    std::vector<Frame> frames{Frame::of(wire::encode(message))};
    if (!body.empty()) frames.push_back(Frame::of(std::move(body)));
    core->receive(peer, frames, now);
  }
  void hello(const broker::Peer& peer, const std::string& publisher = "") {
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.client = peer;
    hello.publisher = publisher;
    send(peer, hello);
    run();
    if (const auto welcome = take<wire::WelcomeT>(peer); !welcome.empty()) fences_[peer] = welcome.back().fence;
  }
  // `publish` may bring conditions and steps.
  void publish(const broker::Peer& peer, std::uint64_t first, const std::vector<Buffer>& events, wire::PublishT publish = {}) {
    publish.first_sequence = first;
    publish.count = static_cast<std::uint32_t>(events.size());
    publish.fence = fences_[peer];
    send(peer, publish, join(events));
  }
  std::uint64_t fence(const broker::Peer& peer) const { return fences_.at(peer); }
  template <typename T>
  void ask(const broker::Peer& peer, T question, std::uint64_t number = 1) {
    wire::RequestT request;
    request.request = number;
    request.ask.Set(std::move(question));
    send(peer, request);
  }

  // All messages of one kind that were sent to the peer, in order; they and what came before them are gone afterwards.
  template <typename T>
  std::vector<T> take(const broker::Peer& peer) {
    collect();
    std::vector<T> out;
    for (Received& one : received_[peer]) {
      if (one.message->body.type == wire::BodyTraits<typename T::TableType>::enum_value) {
        out.push_back(std::move(*static_cast<T*>(one.message->body.value)));
      }
    }
    received_[peer].clear();
    return out;
  }
  // The codes of all Failures sent to the peer.
  std::vector<Code> failures(const broker::Peer& peer) {
    std::vector<Code> codes;
    for (const auto& failure : take<wire::FailureT>(peer)) codes.push_back(failure.code);
    return codes;
  }
  const std::vector<Received>& received(const broker::Peer& peer) { return collect(), received_[peer]; }
  // False: the peer's socket takes nothing.
  std::map<broker::Peer, bool> reads;

  static broker::PayloadTypes& types() {
    static broker::PayloadTypes types;
    return types;
  }
  std::unique_ptr<broker::Core> core;
  Now now{wall_time(1'800'000'000'000'000'000), SteadyTime{} + 1h};
  std::size_t map_bytes = limits::map_bytes_min;
  std::size_t fill_ahead_bytes = 8 * limits::MiB;

 private:
  void collect() {
    for (auto& message : core->take_outgoing()) {
      const bool taken = !reads.contains(message.peer) || reads.at(message.peer);
      if (!taken || core->is_blocked(message.peer)) {
        core->blocked(std::move(message));
        continue;
      }
      const auto* header = wire::parse(message.header.bytes).value();
      received_[message.peer].push_back({std::unique_ptr<wire::MessageT>(header->UnPack()),
                                         Buffer(message.body.bytes.begin(), message.body.bytes.end())});
    }
  }

  TempDir dir_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::LogReader> reader_;
  std::optional<store::CommitBatch> batch_;
  std::map<broker::Peer, std::uint64_t> fences_;
  std::map<broker::Peer, std::vector<Received>> received_;
};

inline wire::SubscribeT subscribe(std::uint32_t number, const std::string& group = "",
                                  wire::Start from = wire::Start::unspecified) {
  wire::SubscribeT message;
  message.subscription = number;
  message.group = group;
  message.from = from;
  message.credit_events = 1000;
  message.credit_bytes = limits::credit_bytes_max;
  return message;
}

}  // namespace bus::test
