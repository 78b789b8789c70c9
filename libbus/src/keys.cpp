// The part of Client that reads single keys.
#include <algorithm>

#include "base/limits.hpp"
#include "bus/client.hpp"
#include "key_events.hpp"
#include "wire/envelope.hpp"
#include "wire/event_codec.hpp"

namespace bus {

namespace {

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
  if (reply == nullptr || reply->heads.size() != keys.size()) return unexpected_answer();
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
  ask.skip_trimmed = range.skip_trimmed;
  auto answer = request(question(std::move(ask)));
  if (!answer) return answer.error();
  const auto* reply = answer->reply->answer.AsKeyReadReply();
  if (reply == nullptr || reply->head == nullptr) return unexpected_answer();
  auto events = events_of(*reply, std::move(answer->body));
  if (!events) return events.error();
  return KeyEvents{head_of(*reply->head), std::move(*events), reply->more, reply->trimmed};
}

Result<std::optional<Event>> Client::snapshot(const std::string& key, std::uint64_t up_to) {
  if (up_to == 0) return std::optional<Event>();
  wire::SnapshotGetT ask;
  ask.key = key;
  ask.version = up_to;
  auto answer = request(question(std::move(ask)));
  if (!answer && answer.error().code == Code::not_found) return std::optional<Event>();
  if (!answer) return answer.error();
  const auto* reply = answer->reply->answer.AsSnapshotReply();
  auto body = std::make_shared<std::vector<std::uint8_t>>(std::move(answer->body));
  wire::Envelope envelope;
  if (reply == nullptr || !wire::EventCursor(*body).next() || !wire::read_envelope(*body, envelope)) return unexpected_answer();
  Event::Place place;
  place.version = reply->version;
  place.committed_at = wall_time(reply->saved_at);
  return std::optional(Event(place, body, *body));
}

Result<std::uint64_t> Client::load(const std::string& key, const std::function<bool(const Event&)>& restore,
                                   const std::function<void(const Event&)>& fold, std::uint64_t up_to) {
  const auto found = snapshot(key, up_to);
  if (!found && found.error().code != Code::damaged) return found.error();  // the events say it all
  std::uint64_t version = 0;
  if (found && *found && restore(**found)) version = (*found)->version();
  while (version < up_to) {
    KeyRange range{key, version + 1};
    range.limit = up_to == latest ? 0 : static_cast<std::uint32_t>(std::min<std::uint64_t>(up_to - version, limits::key_limit_max));
    const auto part = read_key(range);
    if (!part) return part.error();
    if (part->events.empty()) break;
    for (const Event& event : part->events) fold(event);
    version = part->events.back().version();
    if (range.limit == 0 && part->more == 0) break;
  }
  return version;
}

Result<std::uint64_t> Client::erase_snapshots(const std::string& key) {
  wire::SnapshotsEraseT ask;
  ask.key = key;
  const auto answer = request(question(std::move(ask)));
  if (!answer) return answer.error();
  const auto* reply = answer->reply->answer.AsSnapshotsErased();
  if (reply == nullptr) return unexpected_answer();
  return reply->count;
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
