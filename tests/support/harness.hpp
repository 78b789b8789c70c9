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
  Harness();
  ~Harness();

  // ---- the broker
  void start();
  // The process dies: what was not committed is lost. `meanwhile` may change the files of the data directory.
  void crash(const std::function<void(const std::filesystem::path& data)>& meanwhile = {});
  // With a checkpoint of everything, so that nothing is left to replay.
  void restart();
  // The last commits of a life.
  void finish(std::size_t commits = limits::key_shards / limits::final_steps);

  // ---- steps
  // Until nothing more happens by itself.
  void run();
  // Answers the reads that were asked for.
  bool read();
  bool answer(const std::vector<broker::ReadRequest>& asked);
  // What a read fails with, if it does.
  std::function<std::optional<Error>(const broker::ReadAsk&)> read_fault;
  Hash128 key_hash(std::string_view key) const;
  // The next batch goes to the disk, but the core is not told.
  bool take();
  bool commit();
  // The next batch is written, but the core is not told.
  bool write();
  // As the committer does while it is idle.
  void fill_ahead();
  void advance(Duration passed);

  // ---- messages
  void send(const broker::Peer& peer, Buffer header, Buffer body);
  template <typename T>
  void send(const broker::Peer& peer, const T& message, Buffer body = {}) {
    send(peer, wire::encode(message), std::move(body));
  }
  void hello(const broker::Peer& peer, const std::string& publisher = "");
  // `publish` may bring conditions and steps.
  void publish(const broker::Peer& peer, std::uint64_t first, const std::vector<Buffer>& events, wire::PublishT publish = {});
  std::uint64_t fence(const broker::Peer& peer) const { return fences_.at(peer); }
  void ask(const broker::Peer& peer, wire::AskUnion question, std::uint64_t number);
  template <typename T>
  void ask(const broker::Peer& peer, T question, std::uint64_t number = 1) {
    wire::AskUnion any;
    any.Set(std::move(question));
    ask(peer, std::move(any), number);
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
  std::vector<Code> failures(const broker::Peer& peer);
  const std::vector<Received>& received(const broker::Peer& peer);
  // False: the peer's socket takes nothing.
  std::map<broker::Peer, bool> reads;

  static broker::PayloadTypes& types();
  std::unique_ptr<broker::Core> core;
  Now now{wall_time(1'800'000'000'000'000'000), SteadyTime{} + 1h};
  std::size_t map_bytes = limits::map_bytes_min;
  std::size_t fill_ahead_bytes = 8 * limits::MiB;
  bool auto_create_topics = true;        // from the next start on

 private:
  void collect();

  TempDir dir_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<store::LogReader> reader_;
  std::optional<store::CommitBatch> batch_;
  std::map<broker::Peer, std::uint64_t> fences_;
  std::map<broker::Peer, std::vector<Received>> received_;
};

wire::SubscribeT subscribe(std::uint32_t number, const std::string& group = "", wire::Start from = wire::Start::unspecified);

}  // namespace bus::test
