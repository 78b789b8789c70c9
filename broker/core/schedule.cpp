#include "broker/core/schedule.hpp"

#include <algorithm>
#include <memory>

#include "base/check.hpp"

namespace bus::broker {

namespace {

constexpr Duration patience = std::chrono::seconds(1);          // after trouble
constexpr Duration impatience = std::chrono::milliseconds(100);  // for room

Error unreadable(const std::string& key) {
  std::string text = "table schedule, key ";
  text.append(hexadecimal(bytes_of(key))).append(": the row cannot be read; it is not published");
  return {Code::damaged, std::move(text)};
}

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
    const auto kept = state_.publishers[publisher].kept_from();
    if (kept == 0) continue;
    const auto first = schedule_id_key({publisher, 0}, false), end = schedule_id_key({publisher, kept}, false);
    staging_.put_row({store::Table::schedule_ids, first, std::nullopt, end});
  }
  staging_.hold([this] { ended(); });
}

// ---- in

Error Schedule::full() {
  return {Code::schedule_full, "the broker holds " + std::to_string(limits::schedule_max) + " scheduled events, which is as many as it may"};
}

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
  if (waiting_ == 0) trouble_ = {};
  if (waiting_ == 0 || taking_) return std::nullopt;
  const auto due = next_due();
  if (due > now.wall) return due == WallTime::max() ? std::nullopt : std::optional(now.steady + std::min<Duration>(due - now.wall, std::chrono::hours(1)));
  if (now.steady < again_) return again_;
  if (!has_room) {
    trouble_ = {Code::log_full, "what is due waits, as the log has no room for it just now"};
    return again_ = now.steady + impatience;
  }
  taking_ = true;
  enqueue([this] { read_due(); });
  return std::nullopt;
}

// What was added in a batch that has not committed cannot be read yet.
void Schedule::read_due() {
  std::erase_if(added_, [&](const auto& one) { return one.first <= staging_.committed_batch(); });
  ReadRows ask{store::Table::schedule, from_, {}, limits::schedule_taken_max, limits::read_bytes_max, store::Damaged::empty};
  reads_.ask(std::move(ask), [this, now = now_.wall](Result<ReadAnswer> answer) { take_due(now, std::move(answer)); });
}

void Schedule::trouble(const Error& error) {
  trouble_ = error;
  again_ = now_.steady + patience;
}

// Those that cannot be published stay, and are passed by: the next read begins behind them. Once all that is due was read it begins
// anew.
void Schedule::take_due(WallTime now, Result<ReadAnswer> answer) {
  next_read_ = now;  // unless all is read, there may be more
  if (!answer) {
    trouble(answer.error());
    taking_ = false;
    return ended();
  }
  if (from_.empty()) trouble_ = {};
  auto& rows = std::get<store::Rows>(*answer);
  std::vector<Due> events;
  bool is_all = rows.empty();
  std::string last;
  if (!rows.empty()) last = rows.back().first;
  WallTime left = WallTime::max();
  for (auto& [key, value] : rows) {
    const auto row = ScheduledRow::decode(key, value);
    if (row && row->due > now) {
      left = row->due;
      is_all = true;
      break;
    }
    if (row) events.push_back({std::move(key), std::move(value)});
    if (!row) trouble(unreadable(key));
  }
  find_keys(std::move(events), [this, is_all, last, left](const Error& error) {
    taking_ = false;
    if (error.code != Code::ok) trouble(error);
    const bool is_stuck = trouble_.code != Code::ok;
    const bool is_from_start = from_.empty();  // else nothing is known of those before
    if (is_all && is_from_start && !is_stuck) next_read_ = left;
    from_.clear();
    if (!is_all && is_stuck) from_.append(last).push_back('\0');
    release();
  });
}

// Stages them once the heads of their keys are known.
void Schedule::find_keys(std::vector<Due> events, std::function<void(const Error&)> staged) {
  std::vector<Hash128> cold;
  for (const Due& event : events) {
    const auto key = ScheduledRow::decode(event.key, event.value)->key;
    if (key != Hash128{} && !state_.keys.is_known(key)) cold.push_back(key);
  }
  std::sort(cold.begin(), cold.end());
  cold.erase(std::unique(cold.begin(), cold.end()), cold.end());
  auto search = std::make_shared<Search>(Search{std::move(events), std::move(staged), 1, {}});
  for (auto left = std::span<const Hash128>(cold); !left.empty();) {
    const auto part = left.first(std::min(left.size(), limits::key_reads_max));
    left = left.subspan(part.size());
    ask_keys({part.begin(), part.end()}, search);
  }
  part_done(*search);
}

// Where some cannot be read the others are to be known all the same.
void Schedule::ask_keys(std::vector<Hash128> keys, std::shared_ptr<Search> search) {
  ++search->parts;
  ReadKeyHeads ask{keys};
  reads_.ask(std::move(ask), [this, keys = std::move(keys), search](Result<ReadAnswer> answer) {
    if (!answer && keys.size() > 1) {
      const auto middle = keys.begin() + static_cast<std::ptrdiff_t>(keys.size() / 2);
      ask_keys({keys.begin(), middle}, search);
      ask_keys({middle, keys.end()}, search);
    } else if (!answer) {
      search->error = answer.error();
    }
    for (std::size_t at = 0; answer && at < keys.size(); ++at) {
      const auto& head = std::get<std::vector<std::optional<store::KeyHead>>>(*answer)[at];
      state_.keys.install(keys[at], head ? Keys::Head{head->position, head->version} : Keys::Head{});
    }
    part_done(*search);
  });
}

// Those whose keys are known by now are staged; one that was forgotten meanwhile is for the next time, as one that cannot be read is.
void Schedule::part_done(Search& search) {
  if (--search.parts > 0) return;
  last_staged_.reset();
  for (const Due& event : search.events) {
    last_staged_ = stage(*ScheduledRow::decode(event.key, event.value));
    if (!last_staged_ && search.error.code == Code::ok) search.error = {Code::busy, "its key was forgotten before it was needed; once more in a moment"};
  }
  search.staged(search.error);
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

void Schedule::leave(const ScheduleId& id, WallTime due, ScheduleFate fate, Position position) {
  --waiting_;
  staging_.put_row({store::Table::schedule, schedule_key(due, id), std::nullopt});
  staging_.put_row({store::Table::schedule_ids, schedule_id_key(id, true), std::nullopt});
  left_.insert(id.publisher);
  if (id.sequence < state_.publishers[id.publisher].kept_from()) return;
  staging_.put_row({store::Table::schedule_ids, schedule_id_key(id, false), ScheduleIdRow{fate, due, position}.encode()});
}

// ---- what steps and operators do

void Schedule::hold(std::vector<ScheduleId> ids, std::function<void(Result<Fates>)> held) {
  BUS_CHECK(ids.size() <= limits::schedule_ids_max);
  enqueue([this, ids = std::move(ids), held = std::move(held)] {
    ReadRowsOf ask{store::Table::schedule_ids, {}};
    for (const bool waits : {true, false}) {
      for (const ScheduleId& id : ids) ask.keys.push_back(schedule_id_key(id, waits));
    }
    reads_.ask(std::move(ask), [ids, held](Result<ReadAnswer> answer) {
      if (!answer) return held(answer.error());
      const auto& rows = std::get<store::Rows>(*answer);
      const std::map<std::string, std::string> found(rows.begin(), rows.end());
      Fates fates;
      for (const bool waits : {true, false}) {
        for (const ScheduleId& id : ids) {
          const auto row = found.find(schedule_id_key(id, waits));
          const auto fate = row == found.end() ? std::nullopt : ScheduleIdRow::decode(row->second);
          if (fate) fates.emplace(id, *fate);
        }
      }
      held(std::move(fates));
    });
  });
}

void Schedule::cancel(std::vector<ScheduleId> ids, std::function<void(Result<std::vector<Code>>)> done) {
  hold(ids, [this, ids, done = std::move(done)](Result<Fates> fates) {
    if (!fates) return done(fates.error()), release();
    std::map<ScheduleId, Code> codes;
    for (const ScheduleId& id : ids) {
      const auto fate = fates->find(id);
      const bool waits = fate != fates->end() && fate->second.fate == ScheduleFate::waiting;
      const bool is_first = codes.emplace(id, waits ? Code::ok : fate != fates->end() ? Code::conflict : Code::not_found).second;
      if (waits && is_first) cancel(id, fate->second.due);
    }
    std::vector<Code> said;
    for (const ScheduleId& id : ids) said.push_back(codes.at(id));
    const bool changes = std::count(said.begin(), said.end(), Code::ok) > 0;
    if (!changes) return done(std::move(said)), release();
    staging_.hold([done, said = std::move(said)] { done(said); });
    release();
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
      const auto& rows = std::get<store::Rows>(*answer);
      const auto row = rows.empty() ? std::nullopt : ScheduleIdRow::decode(rows.front().second);
      if (!row) return fail({Code::not_found, "there is no such event in the schedule"});
      if (row->fate != ScheduleFate::waiting) return fail({Code::conflict, "it does not wait any more"});
      reads_.ask(ReadRowsOf{store::Table::schedule, {schedule_key(row->due, id)}}, [this, id, due = row->due, done, fail](Result<ReadAnswer> second) {
        if (!second) return fail(second.error());
        auto& event = std::get<store::Rows>(*second);
        if (event.empty() || !ScheduledRow::decode(event.front().first, event.front().second)) return fail(unreadable(schedule_key(due, id)));
        find_keys({{event.front().first, event.front().second}}, [this, done, fail](const Error& error) {
          if (!last_staged_) return fail(error);
          staging_.hold([done, staged = *last_staged_] { done(staged); });
          commit();
        });
      });
    });
  });
}

}  // namespace bus::broker
