#include "broker/core/group_requests.hpp"

#include <algorithm>

namespace bus::broker {

namespace {

constexpr std::size_t envelopes_max = 64;         // read from the log for one reply
constexpr std::size_t brief_letters_max = 1024;   // of one reply

void say_envelope(const std::optional<Envelope>& envelope, wire::PendingInfoT& info) {
  if (!envelope) return;
  info.topic = envelope->topic;
  info.type = envelope->type;
  info.key = envelope->key;
}

// Of positions in one request.
Result<void> check_count(std::size_t count) {
  if (count > 0 && count <= limits::letters_settled_max) return {};
  return Error{Code::bad_request, std::to_string(count) + " positions; 1 to " + std::to_string(limits::letters_settled_max) + " may be given"};
}

}  // namespace

bool GroupRequests::receive(Asker to, const wire::Request& message, Now now) {
  switch (message.ask_type()) {
    case wire::Ask::GroupsRequest: list(to, *message.ask_as_GroupsRequest()); break;
    case wire::Ask::GroupCreate: create(to, *message.ask_as_GroupCreate(), now); break;
    case wire::Ask::GroupEdit: edit(to, *message.ask_as_GroupEdit(), now); break;
    case wire::Ask::GroupSeek: seek(to, *message.ask_as_GroupSeek(), now); break;
    case wire::Ask::GroupRemove: remove(to, *message.ask_as_GroupRemove()); break;
    case wire::Ask::GroupPending: pending(to, *message.ask_as_GroupPending(), now); break;
    case wire::Ask::DeadLettersRequest: letters(to, *message.ask_as_DeadLettersRequest()); break;
    case wire::Ask::DeadLetterGet: letter(to, *message.ask_as_DeadLetterGet()); break;
    case wire::Ask::DeadLettersSettle: settle_letters(to, *message.ask_as_DeadLettersSettle(), now); break;
    case wire::Ask::GroupReplay: replay(to, *message.ask_as_GroupReplay(), now); break;
    default: return false;
  }
  return true;
}

// ---- groups

void GroupRequests::list(Asker to, const wire::GroupsRequest& ask) {
  if (ask.name() != nullptr) {
    const Source* source = delivery_.find_group(ask.name()->string_view());
    if (source == nullptr) return durable_.refuse(to, Delivery::unknown_group(ask.name()->string_view()));
    return tell(to, *source, !ask.without_keys());
  }
  wire::GroupsReplyT reply;
  std::size_t bytes = 0;
  const auto& all = delivery_.groups();
  for (auto it = all.upper_bound(flatbuffers::GetString(ask.after())); it != all.end(); ++it) {
    auto info = std::make_unique<wire::GroupInfoT>(delivery_.info(*it->second));
    bytes += 300 + info->name.size();
    for (const auto* list : {&info->patterns, &info->types, &info->keys}) {
      for (const auto& text : *list) bytes += 12 + text.size();
    }
    reply.groups.push_back(std::move(info));
    if (bytes <= limits::reply_bytes_target) continue;
    reply.more = it->first;
    break;
  }
  durable_.answer(to, std::move(reply));
}

// With the names of the members and the age of the oldest unsettled event, for which its record may have to be read.
void GroupRequests::tell(Asker to, const Source& source, bool with_keys) {
  auto info = std::make_shared<wire::GroupInfoT>(delivery_.info(source, with_keys));
  for (const MemberId member : source.group->state.member_ids()) {
    if (info->member_names.size() == limits::member_names_max) break;
    const Session* session = sessions_.find(member.session);
    if (session != nullptr) info->member_names.push_back(session->client);
  }
  const auto tell = [this, to, info](std::int64_t oldest_at) {
    info->oldest_at = oldest_at;
    wire::GroupsReplyT reply;
    reply.groups.push_back(std::make_unique<wire::GroupInfoT>(std::move(*info)));
    durable_.answer(to, std::move(reply));
  };
  if (info->floor >= info->committed) return tell(0);
  reads_.ask(ReadRecords{Position{info->floor + 1}}, [tell](Result<ReadAnswer> answer) {
    const bool found = answer.ok() && !std::get<std::vector<store::RecordPtr>>(*answer).empty();
    tell(found ? nanoseconds(std::get<std::vector<store::RecordPtr>>(*answer).front()->committed_at()) : 0);
  });
}

void GroupRequests::create(Asker to, const wire::GroupCreate& ask, Now now) {
  delivery_.create_group(ask, now, [this, to](Result<void> done) {
    if (!done) return durable_.refuse(to, done.error());
    answers_.answer(to, wire::DoneT());
  });
}

void GroupRequests::edit(Asker to, const wire::GroupEdit& ask, Now now) {
  if (auto edited = delivery_.edit_group(ask, now); !edited) return durable_.refuse(to, edited.error());
  staging_.hold([this, to] { answers_.answer(to, wire::DoneT()); });
}

void GroupRequests::seek(Asker to, const wire::GroupSeek& ask, Now now) {
  const auto name = flatbuffers::GetString(ask.name());
  const bool is_preview = ask.preview();
  delivery_.locate(ask.to(), ask.to_value(), now.wall + limits::clock_slack, [this, to, name, now, is_preview](Result<Position> next) {
    Source* group = delivery_.find_group(name);
    if (group == nullptr) return durable_.refuse(to, Delivery::unknown_group(name));
    if (!next) return answers_.refuse(to, next.error());
    const auto what = is_preview ? delivery_.preview_seek(*group, *next) : delivery_.seek(*group, *next, now);
    if (!what) return durable_.refuse(to, what.error());
    wire::SeekReplyT reply;
    reply.floor_before = number(what->floor);
    reply.floor = number(*next) - 1;
    reply.open = what->open;
    reply.dead_letters = what->letters;
    if (is_preview) return durable_.answer(to, std::move(reply));
    staging_.hold([this, to, reply] { answers_.answer(to, wire::SeekReplyT(reply)); });
  });
}

void GroupRequests::remove(Asker to, const wire::GroupRemove& ask) {
  const auto name = flatbuffers::GetString(ask.name());
  if (auto removed = delivery_.remove_group(name, ask.dead_letters()); !removed) return durable_.refuse(to, removed.error());
  staging_.hold([this, to] { answers_.answer(to, wire::DoneT()); });
}

// ---- what is open

void GroupRequests::pending(Asker to, const wire::GroupPending& ask, Now now) {
  const auto name = flatbuffers::GetString(ask.name());
  const Source* source = delivery_.find_group(name);
  if (source == nullptr) return durable_.refuse(to, Delivery::unknown_group(name));
  auto reply = std::make_shared<wire::PendingReplyT>();
  std::vector<Position> positions;
  const auto wall = [now](SteadyTime time) { return nanoseconds(now.wall + (time - now.steady)); };
  Position looked_to = Position::none;
  for (const PendingEvent& event : source->group->state.pending(Position{ask.after()}, ask.blocking(), envelopes_max, looked_to)) {
    auto info = std::make_unique<wire::PendingInfoT>();
    info->position = number(event.position);
    info->place = static_cast<wire::PendingPlace>(event.place);
    info->attempt = event.attempt;
    info->failures = event.failures;
    info->returns = event.returns;
    info->note = event.note;
    info->waiting = event.waiting;
    info->waiting_more = !event.knows_all;
    const bool in_flight = event.place == PendingEvent::Place::in_flight;
    const Session* session = in_flight ? sessions_.find(event.member.session) : nullptr;
    if (session != nullptr) info->member = session->client;
    if (in_flight) info->given_at = wall(event.given_at);
    if (in_flight || event.place == PendingEvent::Place::delayed) info->due_at = wall(event.due);
    positions.push_back(event.position);
    reply->events.push_back(std::move(info));
  }
  reply->more = number(looked_to);
  if (positions.empty()) return durable_.answer(to, std::move(*reply));
  reads_.ask(ReadEnvelopes{std::move(positions)}, [this, to, reply](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& envelopes = std::get<std::vector<std::optional<Envelope>>>(*answer);
    for (std::size_t at = 0; at < envelopes.size(); ++at) say_envelope(envelopes[at], *reply->events[at]);
    answers_.answer(to, std::move(*reply));
  });
}

// ---- dead letters

void GroupRequests::letters(Asker to, const wire::DeadLettersRequest& ask) {
  const auto name = flatbuffers::GetString(ask.group());
  const Source* source = delivery_.find_group(name);
  if (source == nullptr) return durable_.refuse(to, Delivery::unknown_group(name));
  auto spec = Filter::check(ask.filter());
  if (!spec) return answers_.refuse(to, spec.error());
  if (spec->time_from != 0 || spec->time_to != 0 || !spec->priorities.empty() || !spec->attributes.empty()) {
    return answers_.refuse(to, {Code::bad_filter, "dead letters are found by topic, type and key, not by what else their event has"});
  }
  std::vector<Hash128> keys;
  for (const auto& key : spec->keys) keys.push_back(hash128(bytes_of(key), key_secret_));
  auto list = std::make_shared<Letters>(Letters{to, source->group->number, {}, Filter(std::move(*spec), key_secret_), std::move(keys)});
  ask.UnPackTo(&list->ask);
  list->last = Position{ask.after()};
  list->limit = ask.brief() ? brief_letters_max : envelopes_max;
  if (ask.limit() != 0) list->limit = std::min<std::size_t>(list->limit, ask.limit());
  list_letters(std::move(list));
}

bool GroupRequests::wants(Letters& list, const DeadLetterRow& row) const {
  const auto& ask = list.ask;
  if (ask.cause && static_cast<Cause>(*ask.cause) != row.cause) return false;
  if (ask.died_from != 0 && nanoseconds(row.died_at) < ask.died_from) return false;
  if (ask.died_to != 0 && nanoseconds(row.died_at) > ask.died_to) return false;
  if (!ask.reason.empty() && row.reason.find(ask.reason) == std::string::npos) return false;
  if (!list.keys.empty() && std::find(list.keys.begin(), list.keys.end(), row.event.key) == list.keys.end()) return false;
  return list.filter.matches_kind({row.event.topic, row.event.type, 0, 0, 0}, state_);
}

std::unique_ptr<wire::DeadLetterT> GroupRequests::to_wire(Position position, const DeadLetterRow& row) const {
  auto letter = std::make_unique<wire::DeadLetterT>();
  letter->position = number(position);
  letter->died_at = nanoseconds(row.died_at);
  letter->cause = static_cast<wire::DeadCause>(row.cause);
  letter->stopped = row.stopped;
  letter->attempt = row.attempt;
  letter->failures = row.failures;
  letter->returns = row.returns;
  letter->redrives = row.redrives;
  letter->reason = row.reason;
  letter->topic = state_.topics.name(row.event.topic);
  letter->type = state_.types.name(row.event.type);
  return letter;
}

// From one part of the table to the next, until enough has been found, or looked at.
void GroupRequests::list_letters(std::shared_ptr<Letters> list) {
  ReadRows ask{store::Table::dead, event_key(list->group, list->last) + '\0', after_group(list->group), rows_a_read};
  reads_.ask(std::move(ask), [this, list](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(list->to, answer.error());
    const auto& rows = std::get<store::Rows>(*answer);
    for (const auto& [key, value] : rows) {
      const auto row = DeadLetterRow::decode(value);
      const bool is_sound = row && state_.topics.has(row->event.topic) && state_.types.has(row->event.type);
      if (!is_sound) return answers_.refuse(list->to, bad_row("dead"));
      list->last = position_of_key(key);
      ++list->reply.seen;
      if (wants(*list, *row)) list->reply.letters.push_back(to_wire(list->last, *row));
      if (!list->reply.letters.empty() && list->reply.letters.back()->position == number(list->last)) list->bytes += 200 + row->reason.size();
      if (list->reply.letters.size() == list->limit || list->bytes > limits::reply_bytes_target) return tell_letters(list, false);
    }
    if (rows.size() < rows_a_read) return tell_letters(list, true);
    if (list->reply.seen >= rows_a_request) return tell_letters(list, false);
    list_letters(list);
  });
}

void GroupRequests::tell_letters(std::shared_ptr<Letters> list, bool is_all) {
  auto& reply = list->reply;
  if (!is_all) reply.more = number(list->last);
  if (list->ask.brief || reply.letters.empty()) return answers_.answer(list->to, std::move(reply));
  std::vector<Position> positions;
  for (const auto& letter : reply.letters) positions.push_back(Position{letter->position});
  reads_.ask(ReadEnvelopes{std::move(positions)}, [this, list](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(list->to, answer.error());
    const auto& envelopes = std::get<std::vector<std::optional<Envelope>>>(*answer);
    for (std::size_t at = 0; at < envelopes.size(); ++at) {
      auto& letter = *list->reply.letters[at];
      if (!envelopes[at]) continue;
      letter.key = envelopes[at]->key;
      letter.id = envelopes[at]->id;
      letter.committed_at = nanoseconds(envelopes[at]->committed_at);
    }
    answers_.answer(list->to, std::move(list->reply));
  });
}

void GroupRequests::letter(Asker to, const wire::DeadLetterGet& ask) {
  const auto name = flatbuffers::GetString(ask.group());
  const Position position{ask.position()};
  const Source* source = delivery_.find_group(name);
  if (source == nullptr) return durable_.refuse(to, Delivery::unknown_group(name));
  const Error none{Code::not_found, "group '" + name + "' has no dead letter at position " + std::to_string(ask.position())};
  if (source->group->state.letters().find(position) == nullptr) return durable_.refuse(to, none);
  const auto group = source->group->number;
  reads_.ask(ReadRowsOf{store::Table::dead, {event_key(group, position)}}, [this, to, group, position, none](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& rows = std::get<store::Rows>(*answer);
    const auto row = rows.empty() ? std::nullopt : DeadLetterRow::decode(rows.front().second);
    if (!row) return answers_.refuse(to, none);
    auto reply = std::make_shared<wire::DeadLetterReplyT>();
    reply->letter = to_wire(position, *row);
    ReadRows failures{store::Table::failures, failure_key(group, position, 0), event_key(group, position + 1), limits::failures_kept_max};
    reads_.ask(std::move(failures), [this, to, position, reply](Result<ReadAnswer> second) {
      if (!second) return answers_.refuse(to, second.error());
      for (const auto& [key, value] : std::get<store::Rows>(*second)) {
        const auto failure = FailureRow::decode(value);
        if (!failure) return answers_.refuse(to, bad_row("failures"));
        auto one = std::make_unique<wire::AttemptFailureT>();
        one->failure = failure_of_key(key);
        one->attempt = failure->attempt;
        one->at = nanoseconds(failure->at);
        one->cause = static_cast<wire::DeadCause>(failure->cause);
        one->member = failure->member;
        one->error = failure->error;
        reply->failures.push_back(std::move(one));
      }
      reads_.ask(ReadEnvelopes{{position}}, [this, to, reply](Result<ReadAnswer> third) {
        if (!third) return answers_.refuse(to, third.error());
        if (const auto& envelope = std::get<std::vector<std::optional<Envelope>>>(*third).front()) {
          reply->letter->key = envelope->key;
          reply->letter->id = envelope->id;
          reply->letter->committed_at = nanoseconds(envelope->committed_at);
        }
        answers_.answer(to, std::move(*reply));
      });
    });
  });
}

// The group that something was asked of, if it is as it was then.
Result<Source*> GroupRequests::same_group(const std::string& name, std::uint32_t number, std::uint16_t generation) {
  Source* source = delivery_.find_group(name);
  if (source == nullptr) return Delivery::unknown_group(name);
  const bool is_same = source->group->number == number && source->group->state.generation() == generation;
  return is_same ? Result<Source*>(source) : Error{Code::conflict, "group '" + name + "' was moved, or made anew, meanwhile"};
}

// Each by itself: some may have been redriven meanwhile by somebody else.
void GroupRequests::settle_letters(Asker to, const wire::DeadLettersSettle& ask, Now now) {
  const auto name = flatbuffers::GetString(ask.group());
  const Source* source = delivery_.find_group(name);
  if (source == nullptr) return durable_.refuse(to, Delivery::unknown_group(name));
  const auto count = ask.positions() != nullptr ? ask.positions()->size() : 0;
  if (auto good = check_count(count); !good) return answers_.refuse(to, good.error());
  if (ask.action() > wire::DeadAction::drop) return answers_.refuse(to, {Code::bad_request, "dead letters are redriven or dropped"});
  std::vector<std::string> keys;
  for (const auto position : *ask.positions()) keys.push_back(event_key(source->group->number, Position{position}));
  const bool drops = ask.action() == wire::DeadAction::drop, again = ask.again();
  const auto number_then = source->group->number;
  const auto generation_then = source->group->state.generation();
  reads_.ask(ReadRowsOf{store::Table::dead, keys}, [this, to, name, keys, drops, again, number_then, generation_then, now](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto found = same_group(name, number_then, generation_then);
    if (!found) return durable_.refuse(to, found.error());
    Source* group = *found;
    const auto& rows = std::get<store::Rows>(*answer);
    wire::DeadLettersSettledT reply;
    std::size_t next = 0;
    for (const auto& key : keys) {
      const auto position = position_of_key(key);
      const bool is_there = next < rows.size() && rows[next].first == key;
      const auto row = is_there ? DeadLetterRow::decode(rows[next++].second) : std::nullopt;
      Code code = Code::not_found;
      if (row) code = drops ? delivery_.drop(*group, position, now) : delivery_.redrive(*group, position, *row, again, now);
      if (code == Code::ok) {
        ++reply.done;
      } else {
        reply.refused.emplace_back(number(position), code);
      }
    }
    // Where nothing was changed there may be no next commit.
    staging_.hold(reply.done > 0 ? staging_.batch() : staging_.batch() - 1, [this, to, reply] { answers_.answer(to, wire::DeadLettersSettledT(reply)); });
  });
}

// ---- replay

void GroupRequests::replay(Asker to, const wire::GroupReplay& ask, Now now) {
  const auto name = flatbuffers::GetString(ask.name());
  const Source* source = delivery_.find_group(name);
  if (source == nullptr) return durable_.refuse(to, Delivery::unknown_group(name));
  const auto count = ask.positions() != nullptr ? ask.positions()->size() : 0;
  if (auto good = check_count(count); !good) return answers_.refuse(to, good.error());
  auto replay = std::make_shared<Replay>(Replay{to, now, name, source->group->number, source->group->state.generation(), {}, 0, 0, {}});
  for (const auto position : *ask.positions()) replay->positions.push_back(Position{position});
  std::sort(replay->positions.begin(), replay->positions.end());
  replay_on(std::move(replay));
}

// From one record to the next, one read at a time. Each is taken as it is read: what ends the request halfway, a move of the group
// or its end, takes back what was done.
void GroupRequests::replay_on(std::shared_ptr<Replay> replay) {
  const auto group = same_group(replay->name, replay->group, replay->generation);
  if (!group) return durable_.refuse(replay->to, group.error());
  const auto& positions = replay->positions;
  for (; replay->next < positions.size();) {
    const Position position = positions[replay->next];
    const bool is_in_log = position != Position::none && position <= log_.committed();
    if (is_in_log && (*group)->group->state.may_open()) break;
    replayed(*replay, is_in_log ? Code::group_busy : Code::not_found);  // nothing is read for a group that has no room
  }
  if (replay->next == positions.size()) {
    staging_.hold(std::max(replay->batch, staging_.batch() - 1), [this, replay] { answers_.answer(replay->to, std::move(replay->reply)); });
    return;
  }
  const auto as_of = staging_.committed_batch();
  reads_.ask(ReadRecords{positions[replay->next]}, [this, replay, as_of](Result<ReadAnswer> answer) {
    if (const auto batch = changed_meanwhile(answer, as_of)) return staging_.hold(batch, [this, replay] { replay_on(replay); });
    if (!answer && answer.error().code != Code::damaged) return answers_.refuse(replay->to, answer.error());
    if (auto same = same_group(replay->name, replay->group, replay->generation); !same) return durable_.refuse(replay->to, same.error());
    const auto begun = replay->next;
    if (answer) {
      for (const auto& record : std::get<std::vector<store::RecordPtr>>(*answer)) replay_from(*replay, *record);
    }
    if (replay->next == begun) replayed(*replay, answer ? Code::not_found : Code::damaged);
    replay_on(replay);
  });
}

// Retention is at it: a record may not be any more what was read. 0: none of them is.
std::uint64_t GroupRequests::changed_meanwhile(const Result<ReadAnswer>& answer, std::uint64_t as_of) const {
  std::uint64_t batch = 0;
  if (!answer) return batch;
  for (const auto& record : std::get<std::vector<store::RecordPtr>>(*answer)) batch = std::max(batch, staging_.changed_since(as_of, record->first()));
  return batch;
}

// Those that lie there, or lay before it.
void GroupRequests::replay_from(Replay& replay, const store::Record& record) {
  Source& group = *delivery_.find_group(replay.name);
  while (replay.next < replay.positions.size() && replay.positions[replay.next] <= record.last()) {
    replayed(replay, delivery_.replay(group, record, replay.positions[replay.next], replay.now));
  }
}

void GroupRequests::replayed(Replay& replay, Code code) {
  const Position position = replay.positions[replay.next++];
  if (code != Code::ok) {
    replay.reply.refused.emplace_back(number(position), code);
    return;
  }
  ++replay.reply.done;
  replay.batch = staging_.batch();
}

}  // namespace bus::broker
