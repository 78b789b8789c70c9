// Staging gathers what the next commit will change, and keeps every answer that depends on it until it has
// committed. There is no rollback: what is staged is committed, or the process dies.
//
//   stage() … ──take()──> with the committer ──committed()──> answers leave
//
// Owned by the core; one thread. At most one batch is with the committer.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "broker/core/io.hpp"
#include "broker/core/sessions.hpp"
#include "broker/core/state.hpp"

namespace bus::broker {

// What stage() made of one event.
struct Staged {
  Position position = Position::none;
  std::uint64_t version = 0;
};

// The kinds of entries in a batch's journal. docs/STORAGE.md gives their fields.
enum class JournalKind : std::uint8_t { used_up = 1, group = 2 };

class Staging {
 public:
  Staging(State& state, Sessions& sessions, store::LogId log_id) : state_(state), sessions_(sessions), log_id_(log_id) {}
  void start(const store::Head& head);

  // The number of the batch that is being gathered, and of the last one committed.
  std::uint64_t batch() const { return head_.batch + 1; }
  std::uint64_t committed_batch() const { return committed_batch_; }
  Position last() const { return next_ - 1; }
  // The one that what is staged at this position commits with.
  std::uint64_t batch_of(Position position) const { return position > head_.committed ? batch() : head_.batch; }

  // The number of a topic or type, made if it is new.
  std::uint32_t topic(std::string_view name);
  std::uint32_t type(std::string_view name);

  // Appends a verified event of a known publisher, topic and type; its key and its id to be unique,
  // if it has them, must be known to state.keys, and no event has the id.
  struct NewEntry {
    std::uint32_t publisher = 0;
    std::uint64_t sequence = 0;
    std::uint32_t topic = 0, type = 0;
    std::uint8_t priority = 0, flags = 0;  // flags: KindFlag
    const Hash128* key = nullptr;
    const Hash128* unique_id = nullptr;
    Bytes body;
  };
  // One that was scheduled has used up its sequence before.
  Staged stage(const NewEntry& entry);
  // The publisher's sequences up to this one are used up, though the last of them is not in the log: refused, or scheduled.
  void use_up(std::uint32_t publisher, std::uint64_t last_sequence);
  // The number of the name a session publishes under, made if it is new. Who has a transient name is durable with the
  // first event stored for each.
  std::uint32_t publisher(const Session& session);
  // Rows that lead to the events of keys are a convenience: where the disk is full they are left out, and reading a long key takes
  // longer.
  void keep_key_pages(bool keep) { keeps_key_pages_ = keep; }
  // Events of the topic are staged, or with the committer: its figures do not know them yet.
  bool holds_topic(std::uint32_t topic) const;
  // So many bytes go into the batch besides those of its records.
  void add_bytes(std::size_t bytes) { staged_bytes_ += bytes; }
  void put_row(store::Row row) {
    row_bytes_ += 64 + row.key.size() + (row.value ? row.value->size() : 0);
    rows_.push_back(std::move(row));
  }
  // Of the rows that wait for the next commit.
  std::size_t row_bytes() const { return row_bytes_; }
  // Of an older record; committed with the batch that is being gathered.
  void change(store::RecordChange change) {
    changed_.push_back({batch(), change.first});
    staged_bytes_ += change.record != nullptr ? change.record->bytes().size() : 0;
    changes_.push_back(std::move(change));
  }
  void trim(const store::Trim& trim) { trim_ = trim; }
  // What was read of the record that begins there, when `as_of` was committed, may be what it was: the batch that changes it. 0: none
  // does.
  std::uint64_t changed_since(std::uint64_t as_of, Position first) const;
  // From here on a start reads records, as of the batch taken last.
  Position replay_from() const { return head_.replay_from; }
  WallTime committed_at() const { return head_.committed_at; }
  void put_journal(JournalKind kind, std::uint32_t number, std::string_view bytes);

  // Calls `done` once the batch being gathered (or the given one) has committed; at once if it has.
  void hold(std::function<void()> done) { hold(batch(), std::move(done)); }
  void hold(std::uint64_t batch, std::function<void()> done);
  // Calls `done` once all that is staged is durable; at once if nothing is.
  void when_durable(std::function<void()> done) { hold(has_changes() ? batch() : batch() - 1, std::move(done)); }

  // True if bodies of so many bytes may still go into the batch being gathered. An empty one takes any batch.
  bool fits(std::size_t bytes) const { return staged_bytes_ == 0 || staged_bytes_ + bytes <= limits::commit_bytes_max; }
  bool has_changes() const { return events_ > 0 || !rows_.empty() || !changes_.empty() || journal_entries_ > 0; }
  bool committing() const { return committing_; }
  // Bytes of events staged or with the committer.
  std::size_t bytes() const { return staged_bytes_ + committing_bytes_; }
  std::size_t staged_bytes() const { return staged_bytes_; }
  std::uint64_t staged_events() const { return events_; }
  std::uint64_t commits() const { return commits_; }  // since the start

  // Seals what was staged.
  store::CommitBatch take(WallTime now, const store::Head& replay);
  // The batch taken last is durable: its records, in order. Then run the answers with release().
  std::vector<store::RecordPtr> committed();
  void release();

 private:
  store::RecordBuilder& begin_record();
  void put_key_page(const Hash128& key, const Staged& staged);

  State& state_;
  Sessions& sessions_;
  store::LogId log_id_;
  store::Head head_;                      // as of the last batch taken
  std::uint64_t committed_batch_ = 0;
  struct Changed {
    std::uint64_t batch;
    Position first;                       // of the record
  };
  std::deque<Changed> changed_;           // by the last batches
  std::uint64_t forgotten_ = 0;           // the last one that is no longer among them
  Position next_{1};                      // of the next event staged
  std::deque<store::RecordBuilder> builders_;   // the first ones hold what was staged, the others are spare
  std::size_t building_ = 0;              // how many of them do
  store::RecordBuilder* builder_ = nullptr;     // the last of those
  std::vector<store::Row> rows_;
  std::size_t row_bytes_ = 0;
  std::vector<store::RecordChange> changes_;
  std::optional<store::Trim> trim_;
  bool keeps_key_pages_ = true;
  Writer journal_;
  std::size_t journal_entries_ = 0;
  std::uint64_t events_ = 0;
  std::size_t staged_bytes_ = 0, committing_bytes_ = 0;
  bool committing_ = false;
  std::uint64_t commits_ = 0;
  std::vector<store::RecordPtr> committing_records_;
  std::multimap<std::uint64_t, std::function<void()>> held_;
};

}  // namespace bus::broker
