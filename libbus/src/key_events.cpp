#include "key_events.hpp"

#include <memory>
#include <string>

#include "wire/event_codec.hpp"

namespace bus {

namespace {

// What the events of one reply share.
struct Parcel {
  std::vector<std::uint8_t> body;
  std::vector<std::string> publishers;
};

}  // namespace

Error unexpected_answer() { return {Code::malformed, "the broker's answer is not one to this question"}; }

Result<std::vector<Event>> events_of(const wire::KeyReadReplyT& reply, std::vector<std::uint8_t> body) {
  auto parcel = std::make_shared<Parcel>(Parcel{std::move(body), reply.publishers});
  std::vector<Event> events;
  wire::EventCursor cursor(parcel->body);
  for (const auto& delivery : reply.deliveries) {
    const auto bytes = cursor.done() ? Result<Bytes>(unexpected_answer()) : cursor.next();
    if (!bytes) return bytes.error();
    if (delivery.publisher() >= parcel->publishers.size() || !wire::check_event(*bytes)) return unexpected_answer();
    Event::Place place;
    place.position = Position{delivery.position()};
    place.version = delivery.version();
    place.committed_at = wall_time(delivery.committed_at());
    place.sequence = delivery.sequence();
    place.publisher = parcel->publishers[delivery.publisher()];
    events.emplace_back(place, parcel, *bytes);
  }
  return events;
}

}  // namespace bus
