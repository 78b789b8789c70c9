// Events as the tests make them: an envelope around a SystemNotification, as the bytes of a Publish body.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "bus/event_generated.h"
#include "bus/suoke_realtime_generated.h"

namespace bus::test {

inline constexpr const char* notification_type = "suoke.realtime.SystemNotification";

inline std::vector<std::uint8_t> notification(const std::string& text = "maintenance tonight") {
  flatbuffers::FlatBufferBuilder builder;
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "n-1";
  payload.title = text;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

// A valid event; tests change what they are about.
inline wire::EventT event(const std::string& topic = "test.topic", const std::string& key = "") {
  wire::EventT event;
  event.topic = topic;
  event.type = notification_type;
  event.key = key;
  event.id = "e-1";
  event.payload = notification();
  return event;
}

// 4-byte size, FlatBuffer, zeros up to a multiple of 8. An empty optional text is left out, as publishers do.
inline Buffer encode(const wire::EventT& event) {
  flatbuffers::FlatBufferBuilder builder;
  const auto text = [&](const std::string& from) {
    return from.empty() ? flatbuffers::Offset<flatbuffers::String>() : builder.CreateString(from);
  };
  std::vector<flatbuffers::Offset<wire::Attribute>> list;
  for (const auto& attribute : event.attributes) list.push_back(wire::Attribute::Pack(builder, attribute.get()));
  const auto attributes = builder.CreateVector(list);
  const auto topic = builder.CreateString(event.topic), type = builder.CreateString(event.type);
  const auto id = builder.CreateString(event.id);
  const auto key = text(event.key), source = text(event.source), subject = text(event.subject);
  const auto correlation = text(event.correlation_id), causation = text(event.causation_id);
  const auto trace = text(event.traceparent), schema = text(event.dataschema);
  builder.ForceVectorAlignment(event.payload.size(), 1, 8);
  const auto payload = builder.CreateVector(event.payload);
  wire::EventBuilder envelope(builder);
  envelope.add_topic(topic);
  envelope.add_type(type);
  envelope.add_id(id);
  envelope.add_key(key);
  envelope.add_source(source);
  envelope.add_subject(subject);
  envelope.add_time(event.time);
  envelope.add_priority(event.priority);
  envelope.add_encoding(event.encoding);
  envelope.add_correlation_id(correlation);
  envelope.add_causation_id(causation);
  envelope.add_traceparent(trace);
  envelope.add_dataschema(schema);
  envelope.add_attributes(attributes);
  envelope.add_payload(payload);
  envelope.add_deliver_at(event.deliver_at);
  envelope.add_expires_at(event.expires_at);
  builder.FinishSizePrefixed(envelope.Finish());
  Buffer bytes(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  bytes.resize(round_up(bytes.size(), 8), 0);
  return bytes;
}

// A sequence given up.
inline Buffer skipped() { return Buffer(8, 0); }

inline Buffer join(const std::vector<Buffer>& events) {
  Buffer body;
  for (const Buffer& one : events) body.insert(body.end(), one.begin(), one.end());
  return body;
}

}  // namespace bus::test
