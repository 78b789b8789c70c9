// Core is the broker as a deterministic state machine: messages, read results and time in; messages, read requests
// and commit batches out. No sockets, clock, threads, logging or randomness; a secret and the time are arguments.
//
//            receive() ──> session, intake, delivery, requests ──> take_outgoing()
//   read_done() ──────────────────┘          │        └──────────> take_reads()
//   committed() <── committer <── take_batch()
//
// The shell (server) and the simulator drive it alike. Nothing that depends on a write leaves before committed().
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "broker/core/requests.hpp"
#include "broker/core/transient_names.hpp"

namespace bus::broker {

struct CoreOptions {
  About about;
  std::uint64_t secret = 0;                  // random, of this process; with the log's it makes the tokens of sessions
  std::size_t reserve_bytes = limits::settle_reserve_bytes;
  bool auto_create_topics = true;            // a topic that is published to is there
};

class Core {
 public:
  Core(CoreOptions options, const PayloadTypes& types, const store::Identity& identity);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Rebuilds the state from the store: rows, then records and journal entries after the checkpoint.
  Result<void> recover(const store::Store& store, Now now);

  // After recovery: a group that the settings declare. Errors as of Delivery::declare_group().
  Result<void> declare_group(const wire::GroupCreateT& group, Now now) { return delivery_.declare_group(group, now); }

  // ---- in
  void receive(const Peer& peer, std::span<const Frame> frames, Now now);
  void read_done(ReadResult result);
  // The batch taken last is durable.
  void committed(SteadyTime now);
  void set_space(const store::Space& space) { intake_.set_space(space, options_.reserve_bytes); }
  // The socket took a message not at all: it was full, or nobody is there any more. Until the next take_outgoing() all
  // others for a blocked peer are to be handed back, too, without trying: they would overtake this one.
  void blocked(Outgoing message) { sessions_.blocked(std::move(message)); }
  bool is_blocked(const Peer& peer) const { return sessions_.is_blocked(peer); }
  void gone(const Peer& peer);
  // Pings every session, so that dead connections show.
  void probe(SteadyTime now);
  // Deadlines, and a bounded number of deliveries; returns when to call again at the latest. now.steady: at once.
  SteadyTime tick(Now now);
  // Takes no more publishes; what is staged is committed and answered.
  void drain() { intake_.drain(), retention_.drain(); }

  // ---- out
  std::vector<Outgoing> take_outgoing() { return sessions_.take(); }
  std::vector<ReadRequest> take_reads() { return reads_.take(); }
  // The next commit, if there is one and none is under way. `all`: also what could wait.
  std::optional<store::CommitBatch> take_batch(Now now, bool all = false);
  // What was staged, and the next steps of the checkpoint. Once all of them were saved, the next start has nothing to replay.
  store::CommitBatch take_final_batch(Now now, std::size_t steps = limits::key_shards);
  bool committing() const { return staging_.committing(); }
  bool idle() const { return intake_.idle() && !staging_.has_changes() && !staging_.committing(); }

  // ---- for tests and logs
  Position head() const { return log_.committed(); }
  std::size_t sessions() const { return sessions_.size(); }
  std::uint64_t scheduled() const { return schedule_.waiting(); }
  const State& state() const { return state_; }
  const PayloadTypes& types() const { return types_; }
  const Delivery& delivery() const { return delivery_; }
  bool log_full() const { return intake_.log_full(); }
  void verify() const { delivery_.verify(); }

 private:
  Result<void> dispatch(Session& session, const wire::Message& message, std::span<const Frame> frames, Now now);
  void hello(const Peer& peer, const wire::Hello& message, Now now);
  Result<void> check_publisher(const wire::Hello& message);
  void claim(Session& session, const wire::Hello& message, Now now);
  void welcome(const Session& session, std::uint64_t last_sequence);
  void refuse(const Peer& peer, const Error& error, const wire::Message* message);
  void bye(const Session& session);
  enum class Ending { bye, other };
  void end(SessionId id, Ending ending = Ending::other);
  void expire_sessions(SteadyTime now);
  store::CommitBatch build_batch(Now now, std::size_t steps, std::size_t bytes_max);
  void checkpoint(std::size_t steps, std::size_t bytes_max);
  std::optional<SteadyTime> commit_due(SteadyTime now) const;

  CoreOptions options_;
  store::Identity identity_;
  PayloadTypes types_;                   // those it was made with, and those that are registered
  SchemaRegistry schemas_;
  State state_;
  TopicTable topics_;
  Sessions sessions_;
  Reads reads_;
  LogView log_;
  Staging staging_;
  Schedule schedule_;
  Snapshots snapshots_;
  Intake intake_;
  TransientNames transient_names_;
  Delivery delivery_;
  Retention retention_;
  Requests requests_;

  // The rolling checkpoint: step i was last saved when everything up to saved_[i] had been counted.
  struct Saved {
    Position position = Position::none;
    std::uint64_t batch = 0;
  };
  std::array<Saved, limits::key_shards> saved_{};
  std::size_t next_step_ = 0;
  std::optional<Saved> step_under_way_;  // what it will be saved up to
  std::size_t bytes_since_step_ = 0, events_since_step_ = 0, batches_since_step_ = 0;
  std::vector<store::KeyHead> checkpoint_keys_;
  std::size_t stretch_ = 1;              // how many times further apart the steps are just now
  SteadyTime next_expiry_ = SteadyTime::min();
};

}  // namespace bus::broker
