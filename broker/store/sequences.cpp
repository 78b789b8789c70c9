// Finding what became of the sequences of a publisher, by walking its chain of runs backwards.
#include <algorithm>

#include "broker/store/disk_reader.hpp"
#include "broker/store/meta.hpp"

namespace bus::store {

namespace {

// The walk stands on one event of the publisher, the last one of its run that may matter, and moves to older runs.
class PublisherChain {
 public:
  PublisherChain(const lmdb::Transaction& txn, const Tables& tables, LogCursor& cursor, std::uint32_t publisher)
      : txn_(txn), tables_(tables), cursor_(cursor), publisher_(publisher) {}

  // False: a record would have to be read to go there.
  bool is_near(Position position) const { return record_ != nullptr && record_->holds(position); }
  // Error trimmed: that part of the log is gone for good. damaged: the chain leads elsewhere.
  Result<void> go_to(Position position) {
    if (!is_near(position)) {
      const auto found = cursor_.seek(position);
      if (!found) return found.error();
      if (!*found || cursor_.position() > position) return trimmed(position);
      auto record = cursor_.load_index();
      if (!record) return record.error();
      record_ = std::move(*record);
    }
    if (!record_->holds(position)) return broken(position);
    const auto at = static_cast<std::uint32_t>(position - record_->first());
    run_ = record_->run_of(at);
    if (run_.publisher != publisher_) return broken(position);
    last_sequence_ = run_.first_sequence + (at - run_.first_index);
    return {};
  }

  std::uint64_t first_sequence() const { return run_.first_sequence; }
  std::uint64_t last_sequence() const { return last_sequence_; }
  Position previous() const { return run_.previous; }

  // Of a sequence in [first_sequence(), last_sequence()].
  SequenceHit hit(std::uint64_t sequence) const {
    const auto at = run_.first_index + static_cast<std::uint32_t>(sequence - run_.first_sequence);
    const Entry entry = record_->entry(at);
    return {record_->first() + at, entry.key ? entry.key->version : 0};
  }

 private:
  static Error trimmed(Position position) {
    return {Code::trimmed, "position " + std::to_string(number(position)) + " of the publisher's chain was removed"};
  }
  Error broken(Position position) const {
    const auto lost = get_lost(txn_, tables_);
    if (!lost) return lost.error();
    const auto holds = [&](const LostRange& range) { return range.first <= position && position <= range.last; };
    if (std::any_of(lost->begin(), lost->end(), holds)) {
      return {Code::trimmed, "position " + std::to_string(number(position)) + " of the publisher's chain was lost, and taken out by bus-cli log repair"};
    }
    return {Code::damaged, "position " + std::to_string(number(position)) + " is not in the chain of publisher " +
                               std::to_string(publisher_)};
  }

  const lmdb::Transaction& txn_;
  const Tables& tables_;
  LogCursor& cursor_;
  std::uint32_t publisher_;
  RecordPtr record_;
  Run run_;
  std::uint64_t last_sequence_ = 0;
};

}  // namespace

Result<SequenceSlice> DiskReader::find_sequences(std::uint32_t publisher, Position from,
                                                 std::span<const std::uint64_t> sequences, std::size_t records_max) {
  const auto txn = env_.begin(lmdb::Access::read);
  if (!txn) return txn.error();
  auto cursor = LogCursor::open(*txn, tables_);
  if (!cursor) return cursor.error();
  SequenceSlice slice{std::vector<SequenceHit>(sequences.size()), sequences.size(), from, {}};
  PublisherChain chain(*txn, tables_, *cursor, publisher);
  std::size_t records = 0;
  Position& at = slice.next;
  std::size_t& open = slice.open;  // sequences[0 .. open) are still to be found, the highest first
  while (open > 0 && at != Position::none) {
    if (!chain.is_near(at) && ++records > records_max) return slice;
    if (auto reached = chain.go_to(at); !reached && reached.error().code == Code::trimmed) {
      slice.gone = reached.error().detail;
      at = Position::none;
      return slice;
    } else if (!reached) {
      return reached.error();
    }
    // Above the event and below the later run: used up by a refusal, never stored.
    while (open > 0 && sequences[open - 1] > chain.last_sequence()) --open;
    for (; open > 0 && sequences[open - 1] >= chain.first_sequence(); --open) {
      slice.hits[open - 1] = chain.hit(sequences[open - 1]);
    }
    // Strictly backwards, or a damaged link could lead round in circles.
    if (chain.previous() >= at) return Error{Code::damaged, "the chain of a publisher leads forward"};
    at = chain.previous();
  }
  open = 0;  // before its first event there is nothing
  at = Position::none;
  return slice;
}

}  // namespace bus::store
