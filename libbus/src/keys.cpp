// The part of Client that reads single keys.
#include "bus/client.hpp"
#include "wire/event_codec.hpp"

namespace bus {

namespace {

Error unexpected() { return {Code::malformed, "the broker's answer is not one to this question"}; }

// What the events of one reply share.
struct Parcel {
  std::vector<std::uint8_t> body;
  std::vector<std::string> publishers;
};

// Error malformed: the body does not fit the header.
Result<std::vector<Event>> events_of(const wire::KeyReadReplyT& reply, std::vector<std::uint8_t> body) {
  auto parcel = std::make_shared<Parcel>(Parcel{std::move(body), reply.publishers});
  std::vector<Event> events;
  wire::EventCursor cursor(parcel->body);
  for (const auto& delivery : reply.deliveries) {
    const auto bytes = cursor.done() ? Result<Bytes>(unexpected()) : cursor.next();
    if (!bytes) return bytes.error();
    if (delivery.publisher() >= parcel->publishers.size() || !wire::check_event(*bytes)) return unexpected();
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

KeyHead head_of(const wire::KeyHead& head) { return {head.version(), Position{head.position()}}; }

template <typename Ask>
wire::AskUnion question(Ask ask) {
  wire::AskUnion any;
  any.Set(std::move(ask));
  return any;
}

}  // namespace

Result<std::vector<KeyHead>> Client::key_heads(const std::vector<std::string>& keys) {
  wire::KeyHeadsT ask;
  ask.keys = keys;
  auto answer = request(question(std::move(ask)));
  if (!answer) return answer.error();
  const auto* reply = answer->reply->answer.AsKeyHeadsReply();
  if (reply == nullptr || reply->heads.size() != keys.size()) return unexpected();
  std::vector<KeyHead> heads;
  for (const auto& head : reply->heads) heads.push_back(head_of(head));
  return heads;
}

Result<KeyHead> Client::key_head(const std::string& key) {
  auto heads = key_heads({key});
  if (!heads) return heads.error();
  return heads->front();
}

Result<KeyEvents> Client::read_key(const KeyRange& range) {
  wire::KeyReadT ask;
  ask.key = range.key;
  ask.from = range.from;
  ask.backwards = range.backwards;
  ask.limit = range.limit;
  auto answer = request(question(std::move(ask)));
  if (!answer) return answer.error();
  const auto* reply = answer->reply->answer.AsKeyReadReply();
  if (reply == nullptr || reply->head == nullptr) return unexpected();
  auto events = events_of(*reply, std::move(answer->body));
  if (!events) return events.error();
  return KeyEvents{head_of(*reply->head), std::move(*events), reply->more};
}

Result<KeyHead> Client::fold_key(const std::string& key, const std::function<void(const Event&)>& fold, std::uint64_t from) {
  KeyRange range{key, from};
  while (true) {
    const auto part = read_key(range);
    if (!part) return part.error();
    for (const Event& event : part->events) fold(event);
    if (part->more == 0) return part->head;
    range.from = part->more;
  }
}

}  // namespace bus
