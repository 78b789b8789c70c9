#include "event_encoder.hpp"

#include <sys/random.h>

#include <array>
#include <random>

#include "base/limits.hpp"

namespace bus {

namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using flatbuffers::String;

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

// What a thread uses again for each event. One object, since finding what belongs to a thread costs a call each time.
struct Workplace {
  FlatBufferBuilder builder{1024};
  Buffer padded;
  RandomBits random;
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

Offset<String> text_or_none(FlatBufferBuilder& builder, const std::string& text) {
  return text.empty() ? Offset<String>() : builder.CreateString(text);
}

Offset<flatbuffers::Vector<Offset<wire::Attribute>>> attributes_of(FlatBufferBuilder& builder, const NewEvent& event) {
  if (event.attributes.empty()) return 0;
  std::vector<Offset<wire::Attribute>> attributes;
  for (const auto& [name, value] : event.attributes) {
    attributes.push_back(wire::CreateAttribute(builder, builder.CreateString(name), builder.CreateString(value)));
  }
  return builder.CreateVector(attributes);
}

void build(Workplace& workplace, const NewEvent& event, WallTime now) {
  FlatBufferBuilder& builder = workplace.builder;
  builder.Clear();
  builder.ForceVectorAlignment(event.payload.size(), sizeof(std::uint8_t), 8);
  const auto payload = builder.CreateVector(event.payload);
  const auto attributes = attributes_of(builder, event);
  const auto dataschema = text_or_none(builder, event.dataschema);
  const auto traceparent = text_or_none(builder, event.traceparent);
  const auto causation_id = text_or_none(builder, event.causation_id);
  const auto correlation_id = text_or_none(builder, event.correlation_id);
  const auto subject = text_or_none(builder, event.subject);
  const auto source = text_or_none(builder, event.source);
  const auto made = event.id.empty() ? make_id(workplace.random, now) : std::array<char, 36>();
  const auto id = event.id.empty() ? builder.CreateString(made.data(), made.size()) : builder.CreateString(event.id);
  const auto key = text_or_none(builder, event.key);
  const auto type = builder.CreateString(event.type);
  const auto topic = builder.CreateString(event.topic);
  wire::EventBuilder envelope(builder);
  envelope.add_time(nanoseconds(event.time.value_or(now)));
  envelope.add_payload(payload);
  envelope.add_attributes(attributes);
  envelope.add_dataschema(dataschema);
  envelope.add_traceparent(traceparent);
  envelope.add_causation_id(causation_id);
  envelope.add_correlation_id(correlation_id);
  envelope.add_subject(subject);
  envelope.add_source(source);
  envelope.add_id(id);
  envelope.add_key(key);
  envelope.add_type(type);
  envelope.add_topic(topic);
  envelope.add_priority(event.priority);
  builder.FinishSizePrefixed(envelope.Finish());
}

}  // namespace

Result<Bytes> encode_event(const NewEvent& event, WallTime now) {
  thread_local Workplace own;
  Workplace& workplace = own;
  build(workplace, event, now);
  const FlatBufferBuilder& builder = workplace.builder;
  const std::size_t size = builder.GetSize();
  if (size - 4 > limits::event_bytes_max) {
    return Error{Code::event_too_large, "the event has " + std::to_string(size - 4) + " bytes, the limit is " +
                                            std::to_string(limits::event_bytes_max)};
  }
  if (size % 8 == 0) return Bytes(builder.GetBufferPointer(), size);
  Buffer& padded = workplace.padded;
  padded.resize(round_up(size, 8));
  std::memcpy(padded.data(), builder.GetBufferPointer(), size);
  std::memset(padded.data() + size, 0, padded.size() - size);
  return Bytes(padded);
}

}  // namespace bus
