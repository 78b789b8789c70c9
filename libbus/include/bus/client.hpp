// The comfortable client: publish, subscribe, acknowledge, replay.
//
//   auto client = bus::Client::connect({.publisher = "health-data"}).value();
//   auto receipt = client.publish("health.data.updated", "user-7", update).get().value();
//
//   auto subscription = client.subscribe({.patterns = {"health.>"}, .group = "alerts"},
//                                        [](const bus::Event& event) { … }).value();
//
// A Client owns one thread for its connection and, per subscription, as many as its concurrency. It reconnects
// by itself with capped exponential back-off and jitter, resends what has no receipt yet with the same sequence,
// and never loses or reorders. One ZeroMQ context serves the whole process.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bus/event.hpp"
#include "bus/result.hpp"
#include "bus/types.hpp"
#include "bus/wire_generated.h"

namespace bus {

using namespace std::chrono_literals;

// $BUS_SERVER if set, ipc:///run/busd/bus.sock for root and where that exists, else
// ipc://$XDG_RUNTIME_DIR/busd/bus.sock.
BUS_API std::string default_endpoint();

struct ClientOptions {
  std::string server;                  // ZeroMQ endpoint; empty: default_endpoint()
  std::string name;                    // shown to operators; empty: the program's name
  // The name this client publishes under. Its sequence continues across restarts, so that a resend after a
  // crash is stored once. Empty: a transient name that the broker gives, and gives to others once this client
  // has left, or was away for an hour: then it ends with publisher_fenced.
  std::string publisher;
  Duration connect_timeout = 5s;       // of connect(), for the first connection
  Duration request_timeout = 5s;       // of requests; 0 waits for ever
  Duration backoff_min = 50ms;         // between attempts to reconnect: doubled, with jitter, up to the cap
  Duration backoff_max = 5s;
  Duration publish_timeout = 30s;      // how long publish() waits for room in the window; 0 waits for ever
  Duration linger = 0ms;               // how long an event may wait for others to share its batch
  std::size_t window_bytes = 16u << 20;  // published and not yet receipted; the broker may allow less
};

// Runs on the client's thread, or, where nothing was taken, at once on the one that publishes. It must not wait, throw
// (that ends the process), or destroy the client. A publish() in it is told `busy` when the window is full.
using ReceiptCallback = std::function<void(Result<Receipt>)>;

// Where a read begins or ends.
struct At {
  wire::Start kind = wire::Start::unspecified;
  std::int64_t value = 0;
  static At start() { return {wire::Start::start, 0}; }
  static At end() { return {wire::Start::end, 0}; }
  static At position(Position position) { return {wire::Start::position, static_cast<std::int64_t>(number(position))}; }
  static At last(std::uint64_t count) { return {wire::Start::last, static_cast<std::int64_t>(count)}; }
  static At time(WallTime time) { return {wire::Start::time, nanoseconds(time)}; }
};

// An attribute that an event must have, with one of these values; none: any.
struct AttributeFilter {
  std::string name;
  std::vector<std::string> values = {};
};

// What a subscription or replay looks at: all that are set must match, each list by one of its entries, that of attributes by
// all.
struct Filter {
  std::vector<std::string> patterns;   // `*` one token, `>` one or more at the end; none: every topic
  std::vector<std::string> types;
  std::vector<std::string> keys;
  std::optional<WallTime> since, until;  // event time, both inclusive
  std::vector<Priority> priorities = {};
  std::vector<AttributeFilter> attributes = {};
};

enum class AckMode {
  automatic,   // ack when the callback returns, nack with its what() when it throws
  manual       // the callback, or code it hands event and subscription to, calls Subscription::ack() or nack()
};

// What a group is set to. What is left out has the broker's default in a new group, which docs/DELIVERY.md names; of one that
// is there it is not asked for.
struct GroupSettings {
  static constexpr std::uint32_t unlimited = ~std::uint32_t{0};
  std::optional<wire::Sharing> sharing;              // round_robin, least_in_flight, exclusive, key_ordered
  std::optional<Duration> ack_wait;                  // an attempt not settled by then has failed
  std::optional<std::uint32_t> in_flight_max;        // out to all members together,
  std::optional<std::uint32_t> member_in_flight_max; // and to each
  std::optional<std::uint32_t> attempts_max;         // failures after which the group gives up, or unlimited
  std::optional<wire::Backoff> backoff;              // fixed, linear, exponential
  std::optional<Duration> retry_delay, retry_delay_max;
  std::optional<std::uint32_t> jitter_percent;
  std::optional<wire::DeadLetterPolicy> dead_letter; // park, stop_key, skip
  std::optional<bool> paused;
};

// As the protocol has them, for requests. Durations are cut to what 32 bits of milliseconds hold, which no setting may reach.
BUS_API std::unique_ptr<wire::FilterT> to_wire(const Filter& filter);
BUS_API std::unique_ptr<wire::GroupSettingsT> to_wire(const GroupSettings& settings);

// What retention had removed before a reader came to it.
struct Trimmed {
  std::uint64_t events = 0;            // that it would have had, as far as their index tells; of records that are gone altogether nobody knows
  Position to = Position::none;        // the last one; none: nothing was missed
};

struct SubscribeOptions {
  std::vector<std::string> patterns;
  std::string group;                   // empty: a plain subscription, nothing to acknowledge
  std::vector<std::string> types = {};
  std::vector<std::string> keys = {};
  std::vector<Priority> priorities = {};
  std::vector<AttributeFilter> attributes = {};
  At from = {};                        // unspecified: the group's cursor, a new group's start, or the end
  At to = {};                          // unspecified: never ends; end: the head when the broker sees this
  AckMode ack = AckMode::automatic;
  unsigned concurrency = 1;            // callbacks at a time; with 1 they come in order
  std::uint32_t credit_events = 4096;  // how much may be on the way or waiting here
  std::uint32_t credit_bytes = 8u << 20;
  GroupSettings settings = {};         // of a new group; one that is there must have the same: group_mismatch
  // Called when retention was faster than this reader, or its group: before the next event, on a thread of the subscription. It must not throw.
  std::function<void(const Trimmed&)> on_trimmed = {};
};

class Transaction;

// One subscription of a Client; a handle, copies name the same subscription. Thread-safe.
class BUS_API Subscription {
 public:
  // All return at once and travel in batches. One that came too late is counted (stale()) and changes nothing: the event is
  // with someone else by then. Texts are cut after 1,024 bytes.
  // Done.
  void ack(const Event& event);
  // Done, and with it all that this subscription holds up to the event's position. Not in a key_ordered group: stale.
  void ack_up_to(const Event& event);
  // Failed, which `error` says: again after `delay`, or with 0 when the group's retry policy says; and to the dead letters
  // once it has failed too often.
  void nack(const Event& event, Duration delay = 0ms, std::string error = "");
  // Failed for good: to the dead letters now.
  void reject(const Event& event, std::string error);
  // Given back without having failed, as by a service that shuts down: again at once, for somebody else.
  void release(const Event& event);
  // Still at work, at what `note` says for operators to see: the time to acknowledge begins anew.
  void extend(const Event& event, std::string note = "");
  // Waits until every ack and nack given so far is durable. Errors: timed_out, closed, what ended the subscription or the
  // client, and disconnected: there is no connection, or one broke since the last flush and may have taken
  // acknowledgements with it; those events come again. That is said once; the next flush speaks of what was given since.
  Result<void> flush(Duration deadline = 5s);
  // Ends it and waits until no callback of it runs any more. Called by a callback (of any subscription) it does not wait:
  // it ends when the last one has returned, whose ack is still taken.
  // What was in flight is delivered again to others.
  void close();
  // Waits until the subscription has ended: `to` was reached or this side closed it (ok), or an error, such as
  // group_removed. Not for callbacks, which it would wait for.
  Result<void> wait();
  // Nothing was left to deliver, and in a group to settle, up to this position when the broker last said so.
  Position caught_up() const;
  // What the broker said when it began: the first position looked at, the head then, whether the group is new.
  struct Started { Position next, to, committed; bool created; };
  Started started() const;
  std::uint64_t stale() const;
  // Up to now; of a group since the broker started.
  Trimmed trimmed() const;

  struct State;
  explicit Subscription(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  friend class Transaction;
  std::shared_ptr<State> state_;
};

// An input range over part of the log, in order: for (const bus::Event& event : client.replay({…})) … Throws Failed
// if the log cannot be read further; read() does the same without exceptions.
class BUS_API Replay {
 public:
  // The next event, nothing at the end, or an error.
  Result<std::optional<Event>> read();
  // The same for a replay without an end (`to` = {}), which follows the log: nothing also at the deadline, and as soon as
  // caught_up() has risen with no event left to read. A broker that is away does not end it.
  Result<std::optional<Event>> read(SteadyTime deadline);
  // Every event up to here was read, when the broker last said that nothing was left: it says so at first, and as events of
  // these topics are published. Zero while some are left, and for a replay with an end.
  Position caught_up() const;
  // What was missed so far. It is known before the first event that lies behind it is read.
  Trimmed trimmed() const;
  // Ends it for good: whoever reads, on any thread, is told `closed`.
  void close();
  class iterator;
  iterator begin();
  std::default_sentinel_t end() const { return {}; }

  struct State;
  explicit Replay(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

class Replay::iterator {
 public:
  using value_type = Event;
  using difference_type = std::ptrdiff_t;
  explicit iterator(Replay& replay) : replay_(&replay) { ++*this; }
  const Event& operator*() const { return *event_; }
  iterator& operator++() {
    event_ = replay_->read().value();
    return *this;
  }
  void operator++(int) { ++*this; }
  bool operator==(std::default_sentinel_t) const { return !event_; }

 private:
  Replay* replay_;
  std::optional<Event> event_;
};
inline Replay::iterator Replay::begin() { return iterator(*this); }

struct ReplayOptions {
  Filter filter = {};
  At from = At::start();
  At to = At::end();                   // inclusive; end: the head when the broker sees this
  std::uint32_t credit_events = 16384;
  std::uint32_t credit_bytes = 8u << 20;
};

// Who the broker is and how it stands: what Welcome said.
struct ServerInfo {
  std::string version;
  std::vector<std::uint8_t> log_id;
  std::uint64_t history = 0, epoch = 0;
  Position committed = Position::none;
  std::uint64_t last_sequence = 0;     // of this client's publisher
  bool knows_conditions = false;       // false: a busd that stores without looking at conditions; libbus publishes none there
  bool knows_snapshots = false;        // nor at snapshots and Condition::unique_id()
  bool knows_cancels = false;          // nor at Transaction::cancel(), nor at transactions without events
};

// What flush() and close() could not settle: unknown, neither stored for sure nor refused.
struct Unknown {
  std::uint64_t events = 0;
  std::uint64_t first_sequence = 0;
  Error reason;                        // what stood in the way last: log_full, disconnected, …; ok: nothing but time
};

// Where a key has come to; all 0: it has no event.
struct KeyHead {
  std::uint64_t version = 0;
  Position position = Position::none;
};

// Events of one key, in the order of their versions or backwards.
struct KeyRange {
  std::string key;
  std::uint64_t from = 0;              // the first version wanted; 0: the first there is, or backwards the last
  bool backwards = false;
  std::uint32_t limit = 0;             // 0: as many as the broker sends at once, about 256 KiB
  bool skip_trimmed = false;           // the others, where retention has removed some; else that is an error: trimmed
};
struct KeyEvents {
  KeyHead head;                        // when the broker looked
  std::vector<Event> events;
  std::uint64_t more = 0;              // go on reading from this version; 0: that was all, or as many as the limit says
  std::uint64_t trimmed = 0;           // the highest version that was skipped as removed; 0: none
};

class BUS_API Client {
 public:
  // Connects and waits for the broker's Welcome. Errors: timed_out (the detail names the endpoint),
  // bad_argument, unsupported_version, bad_publisher, …
  static Result<Client> connect(ClientOptions options = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  // close() with a deadline of 5 s.
  ~Client();

  const ServerInfo& server() const;

  // Hands over one event. Thread-safe; events of one thread keep their order. Waits while the window is full, up to
  // publish_timeout. The future holds a receipt (durable), a refusal (not stored and never will be), busy (the window
  // stayed full: nothing was taken), unsupported_version (it has conditions, and the broker is one that would not look at
  // them), or closed, publisher_fenced, log_changed or trimmed (unknown).
  std::future<Result<Receipt>> publish(const NewEvent& event);
  // The same with a callback; cheaper at high rates.
  void publish(const NewEvent& event, ReceiptCallback done);
  // Does not wait: busy if the window is full (nothing was taken).
  Result<void> try_publish(const NewEvent& event, ReceiptCallback done);
  // With a sequence of the caller's own, for sources that can be read again, such as a file. Sequences must rise
  // by call; those left out are given up. One at or below the publisher's last is answered as a duplicate, or refused_before, or,
  // where retention has removed what became of it, trimmed (unknown).
  void publish_at(std::uint64_t sequence, const NewEvent& event, ReceiptCallback done);

  // A payload of the generated object API: publish("health.data.updated", "user-7", HealthDataUpdateT{…}).
  template <typename Object>
  std::future<Result<Receipt>> publish(std::string topic, std::string key, const Object& payload) {
    using Table = typename Object::TableType;
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(Table::Pack(builder, &payload));
    NewEvent event;
    event.topic = std::move(topic);
    event.type = Table::GetFullyQualifiedName();
    event.key = std::move(key);
    event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
    return publish(event);
  }

  // One atomic step (bus/transaction.hpp); it travels like its events, in their order. The future holds the receipts of its events,
  // in order, and none of its snapshots; or why nothing of it happened: conflict (a condition; Error::version), stale_ack, not_delivered, not_scheduled, bad_argument (it
  // is empty or above its limits), unknown_subscription (it settles for one that was closed before), unsupported_version (a
  // broker that knows no transactions), or what one of its events was refused for; or unknown, as of publish(): then it was
  // sent again and again under the same sequences, and took effect once or not at all.
  std::future<Result<std::vector<Receipt>>> transact(const Transaction& step);

  // Waits until everything published before this call has its answer. What is left at the deadline is returned.
  Unknown flush(Duration deadline);

  // The callback runs on threads of the subscription. Errors: group_mismatch, bad_pattern, … and timed_out.
  // After a reconnect the subscription goes on: a group from its cursor, a plain one after the last event seen. A group
  // that was removed meanwhile is not made anew: the subscription ends with group_removed.
  Result<Subscription> subscribe(SubscribeOptions options, std::function<void(const Event&)> callback);
  // The same for a callback that acknowledges by itself, extends, or closes the subscription.
  Result<Subscription> subscribe(SubscribeOptions options, std::function<void(Subscription&, const Event&)> callback);

  Replay replay(ReplayOptions options = {});

  // What is committed of keys; costs grow with the events that are read, not with the log or the key. Errors: bad_key, damaged,
  // trimmed (retention has removed some that were asked for), timed_out, disconnected, closed, bad_request (more than 1,024 keys).
  Result<std::vector<KeyHead>> key_heads(const std::vector<std::string>& keys);
  Result<KeyHead> key_head(const std::string& key);
  Result<KeyEvents> read_key(const KeyRange& range);
  // Calls `fold` with every event of the key from that version on, in order, up to the head, which is returned: an event that
  // is published on condition of that version follows what was folded. Each has the errors of read_key().
  Result<KeyHead> fold_key(const std::string& key, const std::function<void(const Event&)>& fold, std::uint64_t from = 1);

  static constexpr std::uint64_t latest = ~std::uint64_t{0};
  // The newest snapshot of a key up to that version; nothing: there is none. It comes as an event without topic: its type and
  // payload are those of the state, its version is that of the key's last event in the state, committed_at() is when it was saved.
  // Transaction::snapshot() saves one. Errors as of read_key().
  Result<std::optional<Event>> snapshot(const std::string& key, std::uint64_t up_to = latest);
  // The state of a key: calls `restore` with that snapshot, if there is one, and `fold` with every event after it, in order, up to
  // the head or to version `up_to`. `restore` returns false where it cannot use the snapshot, as it is of another type for
  // example: then every event is folded, from the first on. Returns the version that the state is at, 0 for a key without events.
  // Errors as of read_key().
  Result<std::uint64_t> load(const std::string& key, const std::function<bool(const Event& snapshot)>& restore,
                             const std::function<void(const Event&)>& fold, std::uint64_t up_to = latest);
  // All snapshots of a key go, as after a mistake in the fold. Returns how many there were.
  Result<std::uint64_t> erase_snapshots(const std::string& key);

  // One request of the protocol (schemas/wire.fbs), for operators' tools: `make` builds the Ask union's table.
  //   client.request(bus::wire::GroupRemoveT{.name = "g"})
  struct Answer {
    std::unique_ptr<wire::ReplyT> reply;
    std::vector<std::uint8_t> body;    // the body frame, such as the event of an EventReply; aligned to 8
  };
  Result<Answer> request(wire::AskUnion ask);

  // Stops taking events, waits for running callbacks, receipts and settlements up to the deadline, and says Bye, which
  // takes a second more at most. What is left is unknown; a callback that runs on may outlive the client. Idempotent.
  Unknown close(Duration deadline = 5s);

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bus
