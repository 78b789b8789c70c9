// Events as a service sees them: what it publishes, and what it receives.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/event_generated.h"
#include "bus/result.hpp"
#include "bus/types.hpp"
#include "bus/wire_generated.h"

namespace bus {

using Priority = wire::Priority;

// What must be true of a key where an event is stored, or else it is refused with `conflict`, and Error::version says what the key
// is at. The broker looks at it when it stores the event, or takes it into its schedule; nothing comes in between.
struct Condition {
  wire::Expect expect = wire::Expect::version;
  std::uint64_t version = 0;                // of its last event; 0: it has none
  std::string key = {};                     // empty: the event's own
  static Condition at(std::uint64_t version, std::string key = {}) { return {wire::Expect::version, version, std::move(key)}; }
  static Condition exists(std::string key = {}) { return {wire::Expect::exists, 0, std::move(key)}; }
  static Condition absent(std::string key = {}) { return {wire::Expect::absent, 0, std::move(key)}; }
  // No event in the log has the source and id of this one. If one has, its receipt is the answer, as a duplicate, whoever published
  // it and however long ago, and other conditions are passed over; in a transaction it is a conflict. An id that libbus makes is
  // always new, so NewEvent::id should be set. Not for scheduled events.
  static Condition unique_id() { return {wire::Expect::unique_id, 0, {}}; }
};

// An event to be published. topic, type and payload are needed; libbus fills in `id` (a UUID) and `time` (now)
// where they are left out.
struct NewEvent {
  std::string topic;                        // dotted name, at most 255 bytes
  std::string type;                         // full name of the payload's root table
  std::string key;                          // the aggregate it belongs to; empty: none
  std::vector<std::uint8_t> payload;        // a finished FlatBuffer of that type
  std::string id;
  std::string source;
  std::string subject;
  std::optional<WallTime> time;
  Priority priority = Priority::medium;
  std::string correlation_id;
  std::string causation_id;
  std::string traceparent;
  std::string dataschema;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::optional<WallTime> deliver_at = {};  // scheduled: not in the log before then
  std::optional<WallTime> expires_at = {};  // no group delivers it from then on
  std::vector<Condition> conditions = {};   // all of them, at most 16
};

// State of a key as its service has folded it, up to the key's event of this version: Client::load() begins there, and need not
// read all events. A convenience: what the events say counts, and a snapshot can be erased at any time.
struct NewSnapshot {
  std::string key;
  std::uint64_t version = 0;                // one that the key has, or has once the transaction that it is in is stored
  std::string type;                         // full name of the state's root table, which the broker must know
  std::vector<std::uint8_t> state;          // a finished FlatBuffer of that type
  std::uint32_t keep = 2;                   // of the key's snapshots the last so many are kept: 1 to 64
};

// The broker's word that an event is durable.
struct Receipt {
  Position position = Position::none;
  std::uint64_t version = 0;                // place among the key's events, from 1; 0 without a key
  std::uint64_t sequence = 0;               // the publisher's own number of it
  bool duplicate = false;                   // stored by an earlier send, or with the same id; position and version are that event's
  std::string schedule_id = {};             // scheduled: position and version come when it is due. Else empty
};

// A received event. Copies share one buffer, which lives as long as any of them; reading it is thread-safe.
class BUS_API Event {
 public:
  struct Place {
    Position position = Position::none;
    std::uint64_t version = 0;
    WallTime committed_at;
    std::uint64_t sequence = 0;
    std::uint32_t attempt = 0;              // from 1 in a group; 0 without
    std::string_view publisher;
    std::string_view group;                 // empty without
    std::uint64_t epoch = 0;                // of the delivery; with position and attempt it names what an ack means
  };
  // `bytes` is one size-prefixed event, aligned to 8; `owner` keeps it alive, and the views in `place`.
  Event(const Place& place, std::shared_ptr<const void> owner, std::span<const std::uint8_t> bytes)
      : place_(place), owner_(std::move(owner)), bytes_(bytes),
        envelope_(flatbuffers::GetSizePrefixedRoot<wire::Event>(bytes.data())) {}

  Position position() const { return place_.position; }
  std::uint64_t version() const { return place_.version; }
  WallTime committed_at() const { return place_.committed_at; }
  std::string_view publisher() const { return place_.publisher; }
  std::uint64_t sequence() const { return place_.sequence; }
  std::uint32_t attempt() const { return place_.attempt; }
  std::uint64_t epoch() const { return place_.epoch; }
  std::string_view group() const { return place_.group; }

  // The envelope; absent fields are empty. Views live as long as this Event.
  std::string_view topic() const { return envelope_->topic()->string_view(); }
  std::string_view type() const { return envelope_->type()->string_view(); }
  std::string_view key() const { return text(envelope_->key()); }
  std::string_view id() const { return envelope_->id()->string_view(); }
  std::string_view source() const { return text(envelope_->source()); }
  std::string_view subject() const { return text(envelope_->subject()); }
  WallTime time() const { return wall_time(envelope_->time()); }
  // When it was to be delivered, if it was scheduled; and from when on no group delivers it, if it expires.
  std::optional<WallTime> deliver_at() const { return time_of(envelope_->deliver_at()); }
  std::optional<WallTime> expires_at() const { return time_of(envelope_->expires_at()); }
  Priority priority() const { return envelope_->priority(); }
  std::string_view correlation_id() const { return text(envelope_->correlation_id()); }
  std::string_view causation_id() const { return text(envelope_->causation_id()); }
  std::string_view traceparent() const { return text(envelope_->traceparent()); }
  std::string_view dataschema() const { return text(envelope_->dataschema()); }
  std::vector<std::pair<std::string_view, std::string_view>> attributes() const;
  std::span<const std::uint8_t> payload() const { return {envelope_->payload()->data(), envelope_->payload()->size()}; }
  // The whole event as it was published: 4-byte size, FlatBuffer, padding.
  std::span<const std::uint8_t> bytes() const { return bytes_; }

  // The payload as an object of the generated API, or bad_payload if the event is of another type:
  //   auto update = event.as<suoke::health::HealthDataUpdate>();
  template <typename Table>
  Result<const Table*> as() const {
    if (type() != Table::GetFullyQualifiedName()) {
      return Error{Code::bad_payload, "the event is a " + std::string(type())};
    }
    return flatbuffers::GetRoot<Table>(payload().data());
  }

 private:
  static std::optional<WallTime> time_of(std::int64_t time) { return time == 0 ? std::nullopt : std::optional(wall_time(time)); }
  static std::string_view text(const flatbuffers::String* string) {
    return string != nullptr ? string->string_view() : std::string_view();
  }
  Place place_;
  std::shared_ptr<const void> owner_;
  std::span<const std::uint8_t> bytes_;
  const wire::Event* envelope_;
};

}  // namespace bus
