// The generated builder puts an envelope together from the end, field by field, in a buffer that moves; it takes three times
// the instructions of writing it in one go, which a publisher does for each event. So EnvelopeWriter does that.
#include "event_encoder.hpp"

#include <sys/random.h>

#include <array>
#include <random>

#include "base/limits.hpp"

namespace bus {

namespace {

// SplitMix64: every seed of 64 bits begins a sequence that meets no other soon, and a step costs next to nothing.
class RandomBits {
 public:
  std::uint64_t next() {
    auto mixed = state_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

 private:
  static std::uint64_t seed() {
    std::uint64_t value = 0;
    if (getrandom(&value, sizeof value, 0) != sizeof value) value = std::random_device()();
    return value;
  }
  std::uint64_t state_ = seed();
};

// A UUID of version 7 (RFC 9562): milliseconds first, so that ids sort as they were made.
std::array<char, 36> make_id(RandomBits& random, WallTime now) {
  const auto milliseconds = static_cast<std::uint64_t>(nanoseconds(now) / 1'000'000);
  const std::uint64_t high = milliseconds << 16 | 0x7000 | (random.next() & 0x0fff);
  const std::uint64_t low = (random.next() >> 2) | std::uint64_t{1} << 63;
  std::array<char, 36> id;
  auto* at = id.data();
  for (int digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) *at++ = '-';
    const auto half = digit < 16 ? high : low;
    *at++ = "0123456789abcdef"[half >> (60 - 4 * (digit % 16)) & 15];
  }
  return id;
}

// Writes one size-prefixed Event. Offsets count from the start of the size:
//
//   0 size   4 where the table is   8 vtable   44 table: distance to the vtable, time, offsets, priority   texts …   payload
//
// With deliver_at or expires_at the vtable is longer, and the table begins at 52, with both of them behind the time.
// FlatBuffers' internals document gives the rules. An offset counts from where it stands; a text ends in a zero and begins at
// a multiple of 4; the payload's bytes begin at a multiple of 8.
class EnvelopeWriter {
 public:
  // Takes the bytes of `buffer`, which becomes larger if need be.
  explicit EnvelopeWriter(Buffer& buffer) : buffer_(buffer) {}

  // The event, padded to a multiple of 8.
  Bytes write(const NewEvent& event, std::string_view id, WallTime time) {
    const Texts texts = {{{Event::VT_TOPIC, event.topic}, {Event::VT_TYPE, event.type}, {Event::VT_ID, id}, {Event::VT_KEY, event.key},
                          {Event::VT_SOURCE, event.source}, {Event::VT_SUBJECT, event.subject},
                          {Event::VT_CORRELATION_ID, event.correlation_id}, {Event::VT_CAUSATION_ID, event.causation_id},
                          {Event::VT_TRACEPARENT, event.traceparent}, {Event::VT_DATASCHEMA, event.dataschema}}};
    const bool has_deadlines = event.deliver_at || event.expires_at;
    table_at_ = has_deadlines ? long_table_at : short_table_at;
    at_ = table_at_ + 4 + (has_deadlines ? 3 : 1) * sizeof(std::int64_t);
    make_room(texts, event);
    std::array<std::size_t, text_fields> slots{};
    for (std::size_t at = 0; at < text_fields; ++at) {
      if (at < required_texts || !texts[at].second.empty()) slots[at] = add_slot(texts[at].first);
    }
    const auto attributes_slot = event.attributes.empty() ? 0 : add_slot(Event::VT_ATTRIBUTES);
    const auto payload_slot = add_slot(Event::VT_PAYLOAD);
    if (event.priority != Priority::medium) add_priority(event.priority);
    put_time(Event::VT_TIME, 0, time);
    if (event.deliver_at) put_time(Event::VT_DELIVER_AT, 1, *event.deliver_at);
    if (event.expires_at) put_time(Event::VT_EXPIRES_AT, 2, *event.expires_at);
    finish_table(has_deadlines ? long_vtable_bytes : short_vtable_bytes);
    for (std::size_t at = 0; at < text_fields; ++at) {
      if (slots[at] != 0) put_text(slots[at], texts[at].second);
    }
    if (attributes_slot != 0) put_attributes(attributes_slot, event.attributes);
    put_payload(payload_slot, event.payload);
    size_ = at_ - 4;
    put<std::uint32_t>(0, size_);
    align(8);
    return {data_, at_};
  }
  // Of the event without its size and padding.
  std::size_t size() const { return size_; }

 private:
  using Event = wire::Event;
  static constexpr std::size_t text_fields = 10, required_texts = 3;  // the first ones are there even if they are empty
  using Texts = std::array<std::pair<std::uint16_t, std::string_view>, text_fields>;
  static constexpr std::size_t vtable_at = 8, short_vtable_bytes = Event::VT_PAYLOAD + 2, long_vtable_bytes = Event::VT_EXPIRES_AT + 2;
  static constexpr std::size_t short_table_at = 44, long_table_at = 52;
  static constexpr std::size_t slots_at_most = long_table_at + 4 + 3 * sizeof(std::int64_t);
  static constexpr std::size_t texts_at_most = slots_at_most + (text_fields + 2) * 4 + 4;  // behind all slots, and the priority
  static_assert(vtable_at + short_vtable_bytes <= short_table_at && vtable_at + long_vtable_bytes <= long_table_at);
  static_assert(short_table_at % 8 == 4 && long_table_at % 8 == 4);  // the times behind the first 4 bytes are aligned

  void make_room(const Texts& texts, const NewEvent& event) {
    std::size_t most = texts_at_most + event.payload.size() + 24;
    for (const auto& [field, text] : texts) most += text.size() + 8;
    if (!event.attributes.empty()) most += 16;
    for (const auto& [name, value] : event.attributes) most += name.size() + value.size() + 40;
    if (buffer_.size() < most) {
      buffer_.clear();
      buffer_.resize(most);
    }
    data_ = buffer_.data();
    std::memset(data_, 0, at_);
  }
  template <typename T>
  void put(std::size_t at, std::size_t value) {
    const T number = static_cast<T>(value);
    std::memcpy(data_ + at, &number, sizeof number);
  }
  // Zeros up to a multiple of `unit`.
  void align(std::size_t unit) {
    const auto next = round_up(at_, unit);
    std::memset(data_ + at_, 0, next - at_);
    at_ = next;
  }
  void add_field(std::uint16_t field, std::size_t at) { put<std::uint16_t>(vtable_at + field, at - table_at_); }
  std::size_t add_slot(std::uint16_t field) {
    add_field(field, at_);
    return std::exchange(at_, at_ + 4);
  }
  void add_priority(Priority priority) {
    add_field(Event::VT_PRIORITY, at_);
    data_[at_++] = static_cast<std::uint8_t>(priority);
  }
  void put_time(std::uint16_t field, std::size_t place, WallTime time) {
    const auto at = table_at_ + 4 + place * sizeof(std::int64_t);
    add_field(field, at);
    put<std::int64_t>(at, static_cast<std::size_t>(nanoseconds(time)));
  }
  void finish_table(std::size_t vtable_bytes) {
    put<std::uint32_t>(4, table_at_ - 4);
    put<std::uint16_t>(vtable_at, vtable_bytes);
    put<std::uint16_t>(vtable_at + 2, at_ - table_at_);
    put<std::int32_t>(table_at_, table_at_ - vtable_at);
  }
  // The slot's offset leads here.
  void point(std::size_t slot) { put<std::uint32_t>(slot, at_ - slot); }
  void put_bytes(std::size_t slot, Bytes bytes) {
    point(slot);
    put<std::uint32_t>(at_, bytes.size());
    if (!bytes.empty()) std::memcpy(data_ + at_ + 4, bytes.data(), bytes.size());
    at_ += 4 + bytes.size();
  }
  void put_text(std::size_t slot, std::string_view text) {
    align(4);
    put_bytes(slot, bytes_of(text));
    data_[at_++] = 0;
  }
  void put_payload(std::size_t slot, Bytes payload) {
    align(4);
    if (at_ % 8 == 0) put<std::uint32_t>(std::exchange(at_, at_ + 4), 0);
    put_bytes(slot, payload);
  }
  // Their tables share one vtable, which stands before the vector: size, table's size, and where name and value are.
  void put_attributes(std::size_t slot, const std::vector<std::pair<std::string, std::string>>& attributes) {
    align(4);
    const auto vtable = std::exchange(at_, at_ + 8);
    for (std::size_t at = vtable; const std::size_t value : {8, 12, 4, 8}) put<std::uint16_t>(std::exchange(at, at + 2), value);
    point(slot);
    put<std::uint32_t>(at_, attributes.size());
    auto entry = at_ + 4;
    at_ += 4 + 4 * attributes.size();
    for (const auto& [name, value] : attributes) {
      align(4);
      point(std::exchange(entry, entry + 4));
      const auto table = std::exchange(at_, at_ + 12);
      put<std::int32_t>(table, table - vtable);
      put_text(table + 4, name);
      put_text(table + 8, value);
    }
  }

  Buffer& buffer_;
  std::uint8_t* data_ = nullptr;
  std::size_t table_at_ = short_table_at, at_ = 0, size_ = 0;
};

// What a thread uses again for each event. One object, since finding what belongs to a thread costs a call each time.
struct Workplace {
  Buffer buffer;
  RandomBits random;
};

}  // namespace

Result<Bytes> encode_event(const NewEvent& event, WallTime now) {
  thread_local Workplace own;
  Workplace& workplace = own;
  const auto made = event.id.empty() ? make_id(workplace.random, now) : std::array<char, 36>();
  const std::string_view id = event.id.empty() ? std::string_view(made.data(), made.size()) : event.id;
  EnvelopeWriter writer(workplace.buffer);
  const Bytes encoded = writer.write(event, id, event.time.value_or(now));
  if (writer.size() <= limits::event_bytes_max) return encoded;
  workplace.buffer = Buffer();
  return Error{Code::event_too_large, "the event has " + std::to_string(writer.size()) + " bytes, the limit is " +
                                          std::to_string(limits::event_bytes_max)};
}

}  // namespace bus
