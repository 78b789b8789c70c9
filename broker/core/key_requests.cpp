#include "broker/core/key_requests.hpp"

#include <algorithm>

#include "wire/event_codec.hpp"

namespace bus::broker {

bool KeyRequests::receive(Asker to, const wire::Request& message) {
  switch (message.ask_type()) {
    case wire::Ask::KeyHeads: heads(to, *message.ask_as_KeyHeads()); break;
    case wire::Ask::KeyRead: read(to, *message.ask_as_KeyRead()); break;
    default: return false;
  }
  return true;
}

// ---- heads

void KeyRequests::heads(Asker to, const wire::KeyHeads& ask) {
  const auto count = ask.keys() != nullptr ? ask.keys()->size() : 0;
  if (count == 0 || count > limits::key_heads_max) {
    return answers_.refuse(to, {Code::bad_request, std::to_string(count) + " keys; 1 to " + std::to_string(limits::key_heads_max) + " may be named"});
  }
  std::vector<Hash128> keys;
  for (const auto* key : *ask.keys()) {
    if (auto good = check_key(key); !good) return answers_.refuse(to, good.error());
    keys.push_back(hash128(bytes_of(key->string_view()), key_secret_));
  }
  find_heads(std::move(keys), [this, to](Result<Heads> found) {
    if (!found) return answers_.refuse(to, found.error());
    wire::KeyHeadsReplyT reply;
    for (const auto& head : *found) reply.heads.emplace_back(head.version, number(head.position));
    answers_.answer(to, std::move(reply));
  });
}

// Calls back once what it says is durable.
void KeyRequests::find_heads(std::vector<Hash128> keys, std::function<void(Result<Heads>)> found) {
  auto search = std::make_shared<Search>();
  search->found = std::move(found);
  std::vector<std::size_t> cold;
  for (std::size_t at = 0; at < keys.size(); ++at) {
    const auto known = state_.keys.find(keys[at]);
    search->heads.push_back(known ? store::KeyHead{keys[at], known->position, known->version} : store::KeyHead{keys[at]});
    if (!known) cold.push_back(at);
  }
  search->parts = 1 + (cold.size() + limits::key_reads_max - 1) / limits::key_reads_max;
  for (auto left = std::span<const std::size_t>(cold); !left.empty();) {
    const auto part = left.first(std::min(left.size(), limits::key_reads_max));
    left = left.subspan(part.size());
    ReadKeyHeads ask;
    for (const auto at : part) ask.keys.push_back(keys[at]);
    reads_.ask(std::move(ask), [this, search, places = std::vector<std::size_t>(part.begin(), part.end())](Result<ReadAnswer> answer) {
      part_read(*search, places, answer);
    });
  }
  part_read(*search, {}, ReadAnswer());
}

// A key that has got an event meanwhile is known now: that is its head.
void KeyRequests::part_read(Search& search, const std::vector<std::size_t>& places, const Result<ReadAnswer>& answer) {
  if (!answer) search.error = answer.error();
  for (std::size_t at = 0; answer && at < places.size(); ++at) {
    auto& head = search.heads[places[at]];
    const auto& read = std::get<std::vector<std::optional<store::KeyHead>>>(*answer)[at];
    const auto known = state_.keys.find(head.key);
    if (known) head = {head.key, known->position, known->version};
    else if (read) head = *read;
  }
  if (--search.parts > 0) return;
  if (search.error.code != Code::ok) return search.found(search.error);
  const auto by_position = [](const auto& a, const auto& b) { return a.position < b.position; };
  const auto last = std::max_element(search.heads.begin(), search.heads.end(), by_position)->position;
  auto done = [found = std::move(search.found), heads = std::move(search.heads)] { found(heads); };
  staging_.hold(last > log_.committed() ? staging_.batch_of(last) : staging_.committed_batch(), std::move(done));
}

// ---- events

void KeyRequests::read(Asker to, const wire::KeyRead& ask) {
  if (auto good = check_key(ask.key()); !good) return answers_.refuse(to, good.error());
  if (ask.limit() > limits::key_limit_max) {
    return answers_.refuse(to, {Code::bad_request, "a limit of " + std::to_string(ask.limit()) + " events; " + std::to_string(limits::key_limit_max) + " may be asked for"});
  }
  auto reading = std::make_shared<Reading>();
  reading->to = to;
  reading->key = ask.key()->str();
  reading->skips_trimmed = ask.skip_trimmed();
  auto& range = reading->range;
  range.backwards = ask.backwards();
  range.from = ask.from() != 0 ? ask.from() : ask.backwards() ? ~std::uint64_t{0} : 1;
  range.events_max = ask.limit() != 0 ? ask.limit() : limits::key_limit_max;
  range.records_max = limits::chain_records_max;
  find_heads({hash128(bytes_of(reading->key), key_secret_)}, [this, reading](Result<Heads> found) {
    if (!found) return answers_.refuse(reading->to, found.error());
    const store::KeyHead& head = found->front();
    reading->range.start = head;
    reading->range.from = reading->range.backwards ? std::min(reading->range.from, head.version) : reading->range.from;
    reading->reply.head = std::make_unique<wire::KeyHead>(head.version, number(head.position));
    go_on(reading);
  });
}

void KeyRequests::go_on(std::shared_ptr<Reading> reading) {
  reading->range.bytes_max = limits::reply_bytes_target - std::min(reading->bytes, limits::reply_bytes_target - 1);
  reads_.ask(ReadKeyEvents{reading->range}, [this, reading](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(reading->to, answer.error());
    take(reading, std::get<store::KeyEvents>(std::move(*answer)));
  });
}

// From one part to the next, until the reply is full.
void KeyRequests::take(const std::shared_ptr<Reading>& reading, store::KeyEvents part) {
  auto& range = reading->range;
  if (part.trimmed != 0 && !reading->skips_trimmed) {
    return answers_.refuse(reading->to, {Code::trimmed, "retention has removed events of key '" + reading->key + "', the last of them version " + std::to_string(part.trimmed) +
                                                            "; read from version " + std::to_string(part.trimmed + 1) + " on, or skip what is gone"});
  }
  reading->reply.trimmed = std::max(reading->reply.trimmed, part.trimmed);
  for (const auto& event : part.events) {
    if (auto added = add(*reading, event); !added) return answers_.refuse(reading->to, added.error());
  }
  range.events_max -= part.events.size();
  const std::uint64_t head = reading->reply.head->version();
  bool is_all = false;
  if (range.backwards) {
    is_all = part.next.position == Position::none;
    range.from = part.next.version;
    range.start = part.next;
  } else if (part.next.position != Position::none && part.events.empty()) {
    range.start = part.next;  // still on the way back to the first one
  } else {
    range.from = std::max(range.from, part.trimmed + 1);  // of a part of which all was removed there may be no event
    if (!part.events.empty()) range.from = std::max(range.from, part.events.back().version + 1);
    range.start = {range.start.key, Position{reading->reply.head->position()}, head};
    is_all = (part.events.empty() && part.trimmed == 0) || range.from > head;
  }
  const bool is_full = reading->bytes >= limits::reply_bytes_target || reading->reply.deliveries.size() >= limits::deliver_events_max;
  if (!is_all && !is_full && range.events_max > 0) return go_on(reading);
  if (!is_all && range.events_max > 0) reading->reply.more = range.from;
  answers_.answer(reading->to, std::move(reading->reply), Frame::of(std::move(reading->body)));
}

Result<void> KeyRequests::add(Reading& reading, const store::KeyEvent& event) const {
  const auto* key = wire::trusted_event(event.body)->key();
  if (key == nullptr || key->string_view() != reading.key || !state_.publishers.has(event.publisher)) {
    return Error{Code::damaged, "position " + std::to_string(number(event.position)) + " is in the chain of a key that is not its own"};
  }
  const std::string& publisher = state_.publishers.name(event.publisher);
  auto& publishers = reading.reply.publishers;
  auto known = std::find(publishers.begin(), publishers.end(), publisher);
  if (known == publishers.end()) known = publishers.insert(publishers.end(), publisher);
  reading.reply.deliveries.emplace_back(number(event.position), event.version, nanoseconds(event.committed_at), event.sequence,
                                        static_cast<std::uint32_t>(known - publishers.begin()), 0);
  reading.bytes += event.body.size();
  append(reading.body, event.body);
  return {};
}

}  // namespace bus::broker
