#include "broker/core/schedule.hpp"

#include <algorithm>
#include <memory>

#include "base/check.hpp"

namespace bus::broker {

namespace {

constexpr Duration patience = std::chrono::seconds(1);  // after trouble

Error bad_row(const char* table) { return {Code::damaged, std::string("a row of table ") + table + " cannot be read"}; }

}  // namespace

// ---- changes, one after the other

void Schedule::enqueue(std::function<void()> change) {
  changes_.push_back(std::move(change));
  begin_next();
}

void Schedule::begin_next() {
  if (changing_ || changes_.empty()) return;
  changing_ = true;
  const auto change = std::move(changes_.front());
  changes_.pop_front();
  change();
}

void Schedule::ended() {
  changing_ = false;
  begin_next();
}

// What was changed can be read by the next one.
void Schedule::commit() {
  for (const auto publisher : std::exchange(left_, {})) {
    const auto kept = kept_from(publisher);
    if (kept == 0) continue;
    const auto first = schedule_id_key({publisher, 0}, false), end = schedule_id_key({publisher, kept}, false);
    staging_.put_row({store::Table::schedule_ids, first, std::nullopt, end});
  }
  staging_.hold([this] { ended(); });
}

// ---- in

void Schedule::add(const ScheduledRow& event) {
  // The next read sees those that are committed by then; one that is under way may not.
  while (!taking_ && !added_.empty() && added_.begin()->first <= staging_.committed_batch()) {
    next_read_ = std::min(next_read_, added_.extract(added_.begin()).mapped());
  }
  staging_.put_row({store::Table::schedule, event.row_key(), event.encode()});
  staging_.put_row({store::Table::schedule_ids, schedule_id_key(event.id, true), ScheduleIdRow{ScheduleFate::waiting, event.due}.encode()});
  ++waiting_;
  const auto [earliest, fresh] = added_.try_emplace(staging_.batch(), event.due);
  earliest->second = std::min(earliest->second, event.due);
}

// ---- out

WallTime Schedule::next_due() const {
  auto due = next_read_;
  for (const auto& [batch, earliest] : added_) due = std::min(due, earliest);
  return due;
}

std::optional<SteadyTime> Schedule::tick(Now now, bool has_room) {
  now_ = now;
  if (waiting_ == 0 || taking_) return std::nullopt;
  const auto due = next_due();
  if (due > now.wall) return due == WallTime::max() ? std::nullopt : std::optional(now.steady + std::min<Duration>(due - now.wall, std::chrono::hours(1)));
  if (now.steady < again_) return again_;
  if (!has_room) return again_ = now.steady + patience;
  taking_ = true;
  enqueue([this] { read_due(); });
  return std::nullopt;
}

// What was added in a batch that has not committed cannot be read yet.
void Schedule::read_due() {
  std::erase_if(added_, [&](const auto& one) { return one.first <= staging_.committed_batch(); });
  reads_.ask(ReadRows{store::Table::schedule, {}, {}, limits::schedule_taken_max, limits::read_bytes_max},
             [this, now = now_.wall](Result<ReadAnswer> answer) { take_due(now, std::move(answer)); });
}

void Schedule::trouble(const Error& error) {
  trouble_ = error;
  again_ = now_.steady + patience;
}

void Schedule::take_due(WallTime now, Result<ReadAnswer> answer) {
  const auto end = [this] {
    taking_ = false;
    ended();
  };
  next_read_ = now;  // unless all is read, there may be more
  if (!answer) return trouble(answer.error()), end();
  trouble_ = {};
  auto& rows = std::get<store::LogReader::Rows>(*answer);
  if (rows.empty()) next_read_ = WallTime::max();
  std::vector<Due> events;
  for (auto& [key, value] : rows) {
    const auto row = ScheduledRow::decode(key, value);
    if (!row) return trouble(bad_row("schedule")), end();
    if (row->due > now) {
      next_read_ = row->due;
      break;
    }
    events.push_back({std::move(key), std::move(value)});
  }
  if (events.empty()) return end();
  find_keys(std::move(events), [this] {
    taking_ = false;
    commit();
  });
}

// Stages them once the heads of their keys are known. One whose head cannot be read stays, and with it the trouble.
void Schedule::find_keys(std::vector<Due> events, std::function<void()> staged) {
  std::vector<Hash128> cold;
  for (const Due& event : events) {
    const auto key = ScheduledRow::decode(event.key, event.value)->key;
    if (key != Hash128{} && !state_.keys.is_known(key)) cold.push_back(key);
  }
  std::sort(cold.begin(), cold.end());
  cold.erase(std::unique(cold.begin(), cold.end()), cold.end());
  struct Search {
    std::vector<Due> events;
    std::function<void()> staged;
    std::size_t parts = 0;
  };
  auto search = std::make_shared<Search>(Search{std::move(events), std::move(staged)});
  const auto go_on = [this, search] {
    stage_all(search->events);
    search->staged();
  };
  if (cold.empty()) return go_on();
  search->parts = (cold.size() + limits::key_reads_max - 1) / limits::key_reads_max;
  for (auto left = std::span<const Hash128>(cold); !left.empty();) {
    const auto part = left.first(std::min(left.size(), limits::key_reads_max));
    left = left.subspan(part.size());
    std::vector<Hash128> keys(part.begin(), part.end());
    reads_.ask(ReadKeyHeads{keys}, [this, keys, search, go_on](Result<ReadAnswer> answer) {
      if (!answer) trouble(answer.error());
      for (std::size_t at = 0; answer && at < keys.size(); ++at) {
        const auto& head = std::get<std::vector<std::optional<store::KeyHead>>>(*answer)[at];
        state_.keys.install(keys[at], head ? Keys::Head{head->position, head->version} : Keys::Head{});
      }
      if (--search->parts == 0) go_on();
    });
  }
}

void Schedule::stage_all(const std::vector<Due>& events) {
  last_staged_.reset();
  for (const Due& event : events) {
    const auto row = *ScheduledRow::decode(event.key, event.value);
    last_staged_ = stage(row);
    if (!last_staged_) next_read_ = std::min(next_read_, row.due);  // to be read again
  }
}

// Nothing: the head of its key is not known.
std::optional<Staged> Schedule::stage(const ScheduledRow& event) {
  const bool has_key = event.key != Hash128{};
  if (has_key && !state_.keys.is_known(event.key)) return std::nullopt;
  Staging::NewEntry entry;
  entry.publisher = event.id.publisher;
  entry.sequence = event.id.sequence;
  entry.topic = event.topic;
  entry.type = event.type;
  entry.priority = event.priority;
  entry.flags = event.flags | store::format::scheduled;
  entry.key = has_key ? &event.key : nullptr;
  entry.body = event.body;
  const Staged staged = staging_.stage(entry);
  leave(event.id, event.due, ScheduleFate::published, staged.position);
  return staged;
}

// What became of earlier sequences nobody asks any more: their publisher has a receipt for them.
std::uint64_t Schedule::kept_from(std::uint32_t publisher) const {
  const auto last = state_.publishers[publisher].last_sequence;
  return last > limits::window_events ? last - limits::window_events : 0;
}

void Schedule::leave(const ScheduleId& id, WallTime due, ScheduleFate fate, Position position) {
  --waiting_;
  staging_.put_row({store::Table::schedule, schedule_key(due, id), std::nullopt});
  staging_.put_row({store::Table::schedule_ids, schedule_id_key(id, true), std::nullopt});
  left_.insert(id.publisher);
  if (id.sequence < kept_from(id.publisher)) return;
  staging_.put_row({store::Table::schedule_ids, schedule_id_key(id, false), ScheduleIdRow{fate, due, position}.encode()});
}

// ---- what operators do

void Schedule::cancel(std::vector<ScheduleId> ids, std::function<void(Result<std::vector<Code>>)> done) {
  BUS_CHECK(ids.size() <= limits::schedule_ids_max);
  enqueue([this, ids = std::move(ids), done = std::move(done)] {
    ReadRowsOf ask{store::Table::schedule_ids, {}};
    for (const bool waits : {true, false}) {
      for (const ScheduleId& id : ids) ask.keys.push_back(schedule_id_key(id, waits));
    }
    reads_.ask(std::move(ask), [this, ids, done](Result<ReadAnswer> answer) {
      if (!answer) return done(answer.error()), ended();
      const auto& rows = std::get<store::LogReader::Rows>(*answer);
      const std::map<std::string, std::string> found(rows.begin(), rows.end());
      std::map<ScheduleId, Code> codes;
      for (const ScheduleId& id : ids) {
        const auto waiting = found.find(schedule_id_key(id, true));
        const auto row = waiting == found.end() ? std::nullopt : ScheduleIdRow::decode(waiting->second);
        const bool is_first = codes.emplace(id, row ? Code::ok : found.contains(schedule_id_key(id, false)) ? Code::conflict : Code::not_found).second;
        if (row && is_first) leave(id, row->due, ScheduleFate::cancelled, Position::none);
      }
      std::vector<Code> said;
      for (const ScheduleId& id : ids) said.push_back(codes.at(id));
      const bool changes = std::count(said.begin(), said.end(), Code::ok) > 0;
      if (!changes) return done(std::move(said)), ended();
      staging_.hold([done, said = std::move(said)] { done(said); });
      commit();
    });
  });
}

void Schedule::run(ScheduleId id, std::function<void(Result<Staged>)> done) {
  enqueue([this, id, done = std::move(done)] {
    const auto fail = [this, done](const Error& error) {
      done(error);
      ended();
    };
    ReadRowsOf ask{store::Table::schedule_ids, {schedule_id_key(id, true), schedule_id_key(id, false)}};
    reads_.ask(std::move(ask), [this, id, done, fail](Result<ReadAnswer> answer) {
      if (!answer) return fail(answer.error());
      const auto& rows = std::get<store::LogReader::Rows>(*answer);
      const auto row = rows.empty() ? std::nullopt : ScheduleIdRow::decode(rows.front().second);
      if (!row) return fail({Code::not_found, "there is no such event in the schedule"});
      if (row->fate != ScheduleFate::waiting) return fail({Code::conflict, "it does not wait any more"});
      reads_.ask(ReadRowsOf{store::Table::schedule, {schedule_key(row->due, id)}}, [this, done, fail](Result<ReadAnswer> second) {
        if (!second) return fail(second.error());
        auto& event = std::get<store::LogReader::Rows>(*second);
        if (event.empty() || !ScheduledRow::decode(event.front().first, event.front().second)) return fail(bad_row("schedule"));
        find_keys({{event.front().first, event.front().second}}, [this, done, fail] {
          if (!last_staged_) return fail(trouble_.code != Code::ok ? trouble_ : Error{Code::busy, "its key was forgotten meanwhile; try again"});
          staging_.hold([done, staged = *last_staged_] { done(staged); });
          commit();
        });
      });
    });
  });
}

}  // namespace bus::broker
