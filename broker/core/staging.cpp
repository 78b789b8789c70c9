#include "broker/core/staging.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "broker/store/key_pages.hpp"

namespace bus::broker {

namespace {

// Most reads are answered within a commit or two; one behind a long one takes more.
constexpr std::uint64_t changes_kept = 256;

}  // namespace

void Staging::start(const store::Head& head) {
  head_ = head;
  committed_batch_ = head.batch;
  next_ = head.committed + 1;
}

std::uint32_t Staging::publisher(const Session& session) {
  const auto found = state_.publishers.find(session.publisher);
  const auto number = found ? *found : state_.publishers.add(session.publisher);
  PublisherData& data = state_.publishers[number];
  const auto instance = session.transient ? session.instance : 0;
  if (found && data.instance == instance) return number;
  data.transient = session.transient;
  data.instance = instance;
  rows_.push_back(state_.publisher_row(number));
  return number;
}

namespace {

constexpr std::size_t spare_builders = 4;  // of a commit of 1 MiB

template <typename Table, typename MakeRow>
std::uint32_t find_or_add(Table& table, std::string_view name, std::vector<store::Row>& rows, MakeRow row) {
  if (const auto number = table.find(name)) return *number;
  const auto number = table.add(name);
  rows.push_back(row(number));
  return number;
}

}  // namespace

std::uint32_t Staging::topic(std::string_view name) {
  return find_or_add(state_.topics, name, rows_, [&](auto number) { return state_.topic_row(number); });
}

std::uint32_t Staging::type(std::string_view name) {
  return find_or_add(state_.types, name, rows_, [&](auto number) { return state_.type_row(number); });
}

store::RecordBuilder& Staging::begin_record() {
  if (building_++ == builders_.size()) builders_.emplace_back();
  builder_ = &builders_[building_ - 1];
  return *builder_;
}

Staged Staging::stage(const NewEntry& event) {
  store::Entry entry;
  entry.topic = event.topic;
  entry.type = event.type;
  entry.priority = event.priority;
  entry.flags = event.flags;
  entry.checksum = checksum(event.body);
  entry.publisher = event.publisher;
  entry.sequence = event.sequence;
  Staged staged{next_, 0};
  if (event.key != nullptr) {
    const auto before = state_.keys.advance(*event.key, next_);
    staged.version = before.version + 1;
    entry.key = store::KeyLink{*event.key, staged.version, before.position};
    if (store::has_key_page(*event.key, staged.version) && keeps_key_pages_) put_key_page(*event.key, staged);
  }
  if (event.unique_id != nullptr) {
    state_.keys.place(*event.unique_id, {next_, staged.version});
    entry.unique_id = *event.unique_id;
    staged_bytes_ += limits::event_id_row_bytes;
  }
  if ((event.flags & store::format::scheduled) == 0) {
    PublisherData& publisher = state_.publishers[event.publisher];
    entry.publisher_previous = publisher.last_position;
    publisher.last_position = next_;
    publisher.last_sequence = event.sequence;
    publisher.last_batch = batch();
    publisher.dirty = true;
  }
  const bool fits = builder_ != nullptr && builder_->fits(event.body.size());
  (fits ? *builder_ : begin_record()).append(entry, event.body);
  staged_bytes_ += event.body.size();
  ++events_;
  next_ = next_ + 1;
  return staged;
}

bool Staging::holds_topic(std::uint32_t topic) const {
  for (std::size_t at = 0; at < building_; ++at) {
    if (builders_[at].has_topic(topic)) return true;
  }
  for (const auto& record : committing_records_) {
    for (std::uint32_t kind = 0; kind < record->kinds(); ++kind) {
      if (record->kind(kind).topic == topic) return true;
    }
  }
  return false;
}

void Staging::put_key_page(const Hash128& key, const Staged& staged) {
  Writer writer;
  writer.put(staged.position);
  rows_.push_back({store::Table::key_pages, store::key_page_key(key, staged.version), writer.take()});
  staged_bytes_ += limits::key_page_bytes;
}

void Staging::use_up(std::uint32_t publisher, std::uint64_t last_sequence) {
  state_.apply_used_up(publisher, last_sequence);
  state_.publishers[publisher].last_batch = batch();
  Writer writer;
  writer.put(last_sequence);
  put_journal(JournalKind::used_up, publisher, writer.bytes());
}

void Staging::put_journal(JournalKind kind, std::uint32_t number, std::string_view bytes) {
  journal_.put(kind).put(number).put_string(bytes);
  ++journal_entries_;
}

void Staging::hold(std::uint64_t batch, std::function<void()> done) {
  if (batch <= committed_batch_) return done();
  held_.emplace(batch, std::move(done));
}

store::CommitBatch Staging::take(WallTime now, const store::Head& replay) {
  BUS_CHECK(!committing_);
  store::CommitBatch batch;
  head_.batch += 1;
  head_.committed_at = std::max(head_.committed_at, now);
  head_.replay_from = replay.replay_from;
  head_.replay_batch = replay.replay_batch;
  for (std::size_t at = 0; at < building_; ++at) {
    auto record = builders_[at].seal({log_id_, head_.committed + 1, head_.committed_at, head_.chain, head_.batch});
    head_.committed = record->last();
    head_.chain = record->chain_after();
    batch.records.push_back(std::move(record));
  }
  building_ = 0;
  builder_ = nullptr;
  builders_.resize(std::min(builders_.size(), spare_builders));
  BUS_CHECK(head_.committed + 1 == next_);
  batch.head = head_;
  batch.journal = journal_.take();
  journal_ = {};
  batch.rows = std::exchange(rows_, {});
  batch.changes = std::exchange(changes_, {});
  batch.trim = std::exchange(trim_, std::nullopt);
  row_bytes_ = 0;
  journal_entries_ = 0;
  events_ = 0;
  committing_bytes_ = std::exchange(staged_bytes_, 0);
  committing_records_ = batch.records;
  committing_ = true;
  return batch;
}

std::vector<store::RecordPtr> Staging::committed() {
  BUS_CHECK(committing_);
  committing_ = false;
  ++commits_;
  committing_bytes_ = 0;
  committed_batch_ = head_.batch;
  return std::exchange(committing_records_, {});
}

std::uint64_t Staging::changed_since(std::uint64_t as_of, Position first) const {
  const auto found = std::find_if(changed_.rbegin(), changed_.rend(), [&](const Changed& one) { return one.first == first; });
  if (found != changed_.rend() && found->batch > as_of) return found->batch;
  return as_of < forgotten_ ? committed_batch_ : 0;  // nobody knows any more
}

void Staging::release() {
  for (; !changed_.empty() && changed_.front().batch + changes_kept < committed_batch_; changed_.pop_front()) forgotten_ = changed_.front().batch;
  while (!held_.empty() && held_.begin()->first <= committed_batch_) {
    auto node = held_.extract(held_.begin());
    node.mapped()();
  }
}

}  // namespace bus::broker
