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

// 4-byte size, FlatBuffer, zeros up to a multiple of 8.
inline Buffer encode(const wire::EventT& event) {
  flatbuffers::FlatBufferBuilder builder;
  builder.FinishSizePrefixed(wire::Event::Pack(builder, &event));
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
