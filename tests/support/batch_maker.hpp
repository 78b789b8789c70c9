// BatchMaker makes consecutive commit batches as the core would: positions, chain, versions, runs and key heads fit
// together. Bodies are opaque bytes: the store does not look into events.
#pragma once

#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "broker/store/key_pages.hpp"
#include "broker/store/store.hpp"

namespace bus::testing {

// A stored event: 4-byte size, the text, zeros up to a multiple of 8.
inline Buffer body_of(std::string_view text) {
  Buffer body(round_up(text.size() + 4, 8), 0);
  const auto size = static_cast<std::uint32_t>(text.size());
  std::memcpy(body.data(), &size, sizeof size);
  if (!text.empty()) std::memcpy(body.data() + 4, text.data(), text.size());
  return body;
}

inline std::string random_text(std::mt19937_64& random, std::size_t bytes) {
  std::string text(bytes, '\0');
  for (char& byte : text) byte = static_cast<char>(random());
  return text;
}

// Rows as the core writes them.
inline std::string topic_row(std::string_view name) {
  Writer writer;
  writer.put_string(name);
  for (int field = 0; field < 8; ++field) writer.put(std::uint64_t{0});
  return writer.take();
}
inline std::string publisher_row(std::string_view name, std::uint64_t last_sequence = 0, Position last = Position::none) {
  return Writer().put_string(name).put(std::uint8_t{0}).put(std::uint64_t{0}).put(last_sequence).put(last).take();
}

struct TestEvent {
  std::string text = "event";
  std::string key;  // empty: none
  std::uint32_t publisher = 1;
  std::uint32_t topic = 1, type = 1;
  std::uint8_t priority = 0;
  std::string unique_id = {};  // empty: none
};

class BatchMaker {
 public:
  BatchMaker(const store::Identity& identity, const store::Head& head) : identity_(identity), head_(head) {
    batch_.head = head;
  }
  explicit BatchMaker(const store::Store& store) : BatchMaker(store.identity(), store.head()) {}

  Position add(const TestEvent& event) {
    const Buffer body = body_of(event.text);
    if (builders_.empty() || !builders_.back().fits(body.size())) builders_.emplace_back();
    const Position position = head_.committed + ++events_;
    builders_.back().append(entry_of(event, position, body), body);
    return position;
  }
  void put_row(store::Table table, std::string key, std::string value) {
    batch_.rows.push_back({table, std::move(key), std::move(value)});
  }
  void erase_row(store::Table table, std::string key) { batch_.rows.push_back({table, std::move(key), {}}); }
  void set_journal(std::string journal) { batch_.journal = std::move(journal); }
  // The checkpoint covers all batches before this one: older journal rows may go.
  void set_replay(Position from, std::uint64_t batch) {
    head_.replay_from = from;
    head_.replay_batch = batch;
  }
  // One second later than the batch before.
  store::CommitBatch take() {
    head_.batch += 1;
    head_.committed_at += std::chrono::seconds(1);
    for (auto& builder : builders_) seal(builder);
    for (const auto& [key, head] : std::exchange(changed_keys_, {})) batch_.keys.push_back(head);
    builders_.clear();
    events_ = 0;
    batch_.head = head_;
    return std::exchange(batch_, {});
  }

  bool writes_key_pages = true;  // older versions did not
  const store::Head& head() const { return head_; }
  Hash128 hash_of(std::string_view key) const { return hash128(bytes_of(key), identity_.secret); }
  const std::map<Hash128, store::KeyHead>& keys() const { return keys_; }
  // The last event of a publisher, as find_sequences() wants to know it.
  Position last_of(std::uint32_t publisher) const { return publishers_.at(publisher).last; }
  // A sequence is used up and nothing stored, as by a refusal.
  void skip_sequence(std::uint32_t publisher) { ++publishers_[publisher].sequence; }

 private:
  struct Publisher {
    std::uint64_t sequence = 0;
    Position last = Position::none;
  };

  store::Entry entry_of(const TestEvent& event, Position position, Bytes body) {
    Publisher& publisher = publishers_[event.publisher];
    store::Entry entry;
    entry.topic = event.topic;
    entry.type = event.type;
    entry.priority = event.priority;
    entry.checksum = checksum(body);
    entry.publisher = event.publisher;
    entry.sequence = ++publisher.sequence;
    entry.publisher_previous = std::exchange(publisher.last, position);
    if (!event.key.empty()) entry.key = link(hash_of(event.key), position);
    if (!event.unique_id.empty()) {
      entry.unique_id = hash_of(event.unique_id);
      keys_[*entry.unique_id] = changed_keys_[*entry.unique_id] = {*entry.unique_id, position, entry.key ? entry.key->version : 0};
    }
    return entry;
  }
  store::KeyLink link(const Hash128& hash, Position position) {
    store::KeyHead& head = keys_[hash];
    const store::KeyLink link{hash, head.version + 1, head.position};
    head = {hash, position, link.version};
    changed_keys_[hash] = head;
    if (writes_key_pages && store::has_key_page(hash, link.version)) {
      put_row(store::Table::key_pages, store::key_page_key(hash, link.version), std::string(reinterpret_cast<const char*>(&position), sizeof position));
    }
    return link;
  }
  void seal(store::RecordBuilder& builder) {
    auto record = builder.seal({identity_.log_id, head_.committed + 1, head_.committed_at, head_.chain, head_.batch});
    head_.committed = record->last();
    head_.chain = record->chain_after();
    batch_.records.push_back(std::move(record));
  }

  store::Identity identity_;
  store::Head head_;
  store::CommitBatch batch_;
  std::vector<store::RecordBuilder> builders_;
  std::uint64_t events_ = 0;
  std::map<Hash128, store::KeyHead> keys_, changed_keys_;
  std::map<std::uint32_t, Publisher> publishers_;
};

}  // namespace bus::testing
