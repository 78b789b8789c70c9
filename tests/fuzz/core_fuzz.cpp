// Whatever peers send, in whatever order, the core answers or ignores, keeps its invariants, and commits batches that fit
// together. An input is a list of steps: a peer and a number of frames in one byte, and each frame with its length.
#include <map>

#include "broker/core/core.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/support/samples.hpp"

namespace bus::fuzz {

using namespace std::chrono_literals;
using broker::Core;

// MemoryLog keeps committed records and answers the reads of the core from them: a store without a disk.
class MemoryLog final : public store::LogReader {
 public:
  void commit(const store::CommitBatch& batch) {
    require(batch.head.batch == head_.batch + 1, "a batch is not the next one");
    Position next = head_.committed + 1;
    std::uint64_t chain = head_.chain;
    for (const auto& record : batch.records) {
      require(record->first() == next && record->chain_before() == chain, "a record does not follow");
      next = record->last() + 1;
      chain = record->chain_after();
      records_.push_back(record);
    }
    require(batch.head.committed + 1 == next && batch.head.chain == chain, "the head is not the end");
    for (const auto& change : batch.changes) {
      const auto it = std::find_if(records_.begin(), records_.end(), [&](const auto& record) { return record->first() == change.first; });
      require(it != records_.end() && (change.record != nullptr || (it == records_.begin() && records_.size() > 1)), "a record that is not there is changed, or the last one goes");
      if (change.record != nullptr) *it = change.record;
      else records_.erase(it);
    }
    for (const auto& head : batch.keys) keys_[head.key] = head;
    for (const auto& row : batch.rows) {
      auto& table = tables_[row.table];
      if (row.value) {
        table[row.key] = *row.value;
      } else if (row.until.empty()) {
        table.erase(row.key);
      } else {
        table.erase(table.lower_bound(row.key), table.lower_bound(row.until));
      }
    }
    head_ = batch.head;
  }

  Result<std::vector<store::RecordPtr>> records(Position from, std::size_t) override {
    std::vector<store::RecordPtr> found;
    for (const auto& record : records_) {
      if (record->last() >= from && found.size() < 4) found.push_back(record);
    }
    return found;
  }
  Result<Position> position_at(WallTime time) override {
    for (const auto& record : records_) {
      if (record->committed_at() >= time) return record->first();
    }
    return head_.committed + 1;
  }
  Result<std::vector<std::optional<store::KeyHead>>> key_heads(std::span<const Hash128> keys) override {
    std::vector<std::optional<store::KeyHead>> heads;
    for (const auto& key : keys) {
      const auto it = keys_.find(key);
      heads.push_back(it == keys_.end() ? std::nullopt : std::optional(it->second));
    }
    return heads;
  }
  Result<store::SequenceSlice> find_sequences(std::uint32_t publisher, Position, std::span<const std::uint64_t> sequences, std::size_t) override {
    std::vector<store::SequenceHit> hits(sequences.size());
    each([&](Position position, const store::Entry& entry) {
      for (std::size_t at = 0; at < hits.size(); ++at) {
        if (entry.publisher == publisher && entry.sequence == sequences[at]) hits[at] = {position, entry.key ? entry.key->version : 0};
      }
    });
    return store::SequenceSlice{std::move(hits)};
  }
  Result<store::KeySlice> find_key(const Hash128& key, Position, Position after, std::size_t most, std::size_t) override {
    store::KeySlice slice;
    each([&](Position position, const store::Entry& entry) {
      if (position <= after || !entry.key || entry.key->hash != key) return;
      slice.is_cut = slice.positions.size() == most;
      if (!slice.is_cut) slice.positions.push_back(position);
    });
    return slice;
  }
  // A few at a time, so that the core has to ask again.
  Result<store::KeyEvents> key_events(const store::KeyRange& range) override {
    store::KeyEvents found;
    auto& events = found.events;
    std::vector<std::uint64_t> removed;
    for (const auto& record : records_) {
      for (std::uint32_t at = 0; at < record->count(); ++at) {
        const store::Entry entry = record->entry(at);
        if (!entry.key || entry.key->hash != range.start.key) continue;
        const auto version = entry.key->version;
        if (range.backwards ? version > range.from : version < range.from) continue;
        if (record->is_removed(at)) removed.push_back(version);
        else events.push_back({record->first() + at, version, record->committed_at(), entry.publisher, entry.sequence, copy_of(record->body(at))});
      }
    }
    if (range.backwards) std::reverse(events.begin(), events.end());
    const auto most = std::min<std::size_t>(range.events_max, 4);
    const bool is_cut = events.size() > most;
    for (const auto version : removed) {
      if (!is_cut || range.backwards || version < events[most - 1].version) found.trimmed = std::max(found.trimmed, version);
    }
    if (!is_cut) return found;
    if (range.backwards) found.next = {range.start.key, events[most].position, events[most].version};
    events.resize(most);
    return found;
  }
  Result<store::PrioritySlice> find_priority(Position from, std::uint8_t priorities, std::size_t) override {
    store::PrioritySlice slice{false, std::max(from, head_.committed + 1)};
    each([&](Position position, const store::Entry& entry) {
      if (!slice.is_found && position >= from && (priorities >> entry.priority & 1) != 0) slice = {true, position};
    });
    return slice;
  }
  Result<store::IndexSlice> indexes(Position from, std::size_t) override {
    store::IndexSlice slice;
    for (const auto& record : records_) {
      if (record->last() >= from) slice.records.push_back(record);
    }
    return slice;
  }
  Result<store::Rows> rows(const store::RowRange& range) override {
    store::Rows found;
    const auto& all = tables_[range.table];
    const auto begin = all.lower_bound(range.from), end = range.until.empty() ? all.end() : all.lower_bound(std::max(range.from, range.until));
    for (auto it = begin; it != end; ++it) found.emplace_back(it->first, range.keys_only ? std::string() : it->second);
    if (range.backwards) std::reverse(found.begin(), found.end());
    std::size_t bytes = 0;
    const auto is_beyond = [&](const auto& row) { return std::exchange(bytes, bytes + row.first.size() + row.second.size()) >= range.bytes_max; };
    found.erase(std::find_if(found.begin(), found.end(), is_beyond), found.end());
    if (found.size() > range.most) found.resize(range.most);
    return found;
  }
  Result<store::Stat> stat() override { return store::Stat(); }
  Result<store::VerifySlice> verify(Position, std::uint64_t, std::size_t) override { return Error{Code::disk_error, "there is no disk"}; }
  Result<store::BackupSlice> backup(const store::BackupAsk&) override { return store::BackupSlice(); }

 private:
  template <typename Visit>
  void each(Visit visit) const {
    for (const auto& record : records_) {
      for (std::uint32_t at = 0; at < record->count(); ++at) visit(record->first() + at, record->entry(at));
    }
  }

  store::Head head_;
  std::vector<store::RecordPtr> records_;
  std::map<Hash128, store::KeyHead> keys_;
  std::map<store::Table, std::map<std::string, std::string>> tables_;
};

class Run {
 public:
  Run() {
    store::Space space;
    space.free_bytes = 1 * limits::GiB;
    core_.set_space(space);
  }
  void step(const broker::Peer& peer, const std::vector<Frame>& frames) {
    core_.receive(peer, frames, now_);
    now_.steady += 40ms;
    now_.wall += 40ms;
    turn();
    core_.verify();
  }
  void end() {
    for (int hour = 0; hour < 3; ++hour) {
      now_.steady += 1h;
      now_.wall += 1h;
      turn();
    }
    require(core_.sessions() == 0, "a silent session stays");
    log_.commit(core_.take_final_batch(now_));
    core_.committed(now_.steady);
    core_.verify();
  }

 private:
  void turn() {
    // A bound, so that a loop in the core is a finding and no hang.
    for (int round = 0; round < 1'000; ++round) {
      core_.tick(now_);
      auto batch = core_.take_batch(now_);
      const auto reads = core_.take_reads();
      for (const auto& request : reads) core_.read_done(broker::perform(log_, request));
      if (batch) {
        log_.commit(*batch);
        core_.committed(now_.steady);
      }
      for (const auto& message : core_.take_outgoing()) check(message);
      if (!batch && reads.empty()) return;
    }
    require(false, "the core never comes to rest");
  }
  static void check(const broker::Outgoing& message) {
    require(wire::parse(message.header.aligned().bytes).ok(), "an answer does not parse");
  }

  static const broker::PayloadTypes& types() {
    static const broker::PayloadTypes all;
    return all;
  }
  Core core_{{.about = {"fuzz", "", {}}, .secret = 1}, types(), store::Identity{.epoch = 1, .secret = 5}};
  MemoryLog log_;
  Now now_{wall_time(1'700'000'000'000'000'000), SteadyTime{1000s}};
};

// ---- inputs

void add(std::string& input, char peer, const std::vector<Buffer>& frames) {
  input += static_cast<char>(peer | static_cast<char>(frames.size() << 4));
  for (const auto& frame : frames) input += Writer().put(static_cast<std::uint32_t>(frame.size())).take() + text_of(frame);
}

std::string session(const std::string& group) {
  const auto event = [](const std::string& topic, const std::string& key) {
    return testing::encode_event(testing::sample_event(topic, key));
  };
  std::string input;
  add(input, 1, {wire::encode(testing::Samples::hello("gateway-1"))});
  add(input, 2, {wire::encode(testing::Samples::hello(""))});
  add(input, 2, {wire::encode(testing::Samples::subscribe(1, group))});
  wire::PublishT publish;
  publish.first_sequence = 1;
  publish.count = 3;
  publish.fence = 1;
  const Buffer body = testing::join({event("saga.started", "saga-1"), event("bad..topic", "saga-1"), event("saga.ended", "")});
  add(input, 1, {wire::encode(publish), body});
  add(input, 1, {wire::encode(publish), body});  // a resend
  wire::SettleT settle;
  settle.subscription = 1;
  settle.settlements = {wire::Settlement(1, 1, 0, wire::Verdict::ack), wire::Settlement(2, 1, 100, wire::Verdict::nack)};
  settle.request = 5;
  for (const std::uint64_t generation : {0, 1, 2}) {
    settle.epoch = std::uint64_t{1} << 16 | generation;  // as deliveries of the first life name it
    add(input, 2, {wire::encode(settle)});
  }
  return input;
}

std::vector<std::string> seeds() {
  std::vector<std::string> all = {session("projector"), session("")};
  std::string everything = session("projector");
  for (const auto& sample : testing::Samples::all()) {
    const bool is_publish = sample.name == "Publish";
    add(everything, 2, is_publish ? std::vector<Buffer>{sample.frame, Buffer(8, 0)} : std::vector<Buffer>{sample.frame});
    std::string one = session("projector");
    add(one, 2, {sample.frame});
    all.push_back(one);
  }
  all.push_back(everything);
  return all;
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  bus::Reader input({reinterpret_cast<const char*>(data), bytes});
  bus::fuzz::Run run;
  while (!input.done()) {
    const auto head = input.get<std::uint8_t>();
    std::vector<bus::Frame> frames;
    for (int frame = 0; frame < head >> 4; ++frame) {
      const auto text = input.get_string();
      frames.push_back(bus::Frame::of(bus::Buffer(text.begin(), text.end())));
    }
    if (!input.ok()) break;
    run.step("peer " + std::to_string(head & 3), frames);
  }
  run.end();
  return 0;
}
