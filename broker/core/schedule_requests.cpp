#include "broker/core/schedule_requests.hpp"

#include <algorithm>

#include "wire/event_codec.hpp"

namespace bus::broker {

namespace {


}  // namespace

bool ScheduleRequests::receive(Asker to, const wire::Request& message) {
  switch (message.ask_type()) {
    case wire::Ask::ScheduleRequest: list(to, *message.ask_as_ScheduleRequest()); break;
    case wire::Ask::ScheduleGet: show(to, *message.ask_as_ScheduleGet()); break;
    case wire::Ask::ScheduleCancel: cancel(to, *message.ask_as_ScheduleCancel()); break;
    case wire::Ask::ScheduleRun: run(to, *message.ask_as_ScheduleRun()); break;
    default: return false;
  }
  return true;
}

// Errors: not_found, bad_request.
Result<ScheduleId> ScheduleRequests::find(const wire::ScheduleId* id) const {
  if (id == nullptr || id->publisher() == nullptr || id->sequence() == 0) {
    return Error{Code::bad_request, "an event of the schedule is named by its publisher and sequence"};
  }
  const auto number = state_.publishers.find(id->publisher()->string_view());
  if (number) return ScheduleId{*number, id->sequence()};
  return Error{Code::not_found, "nobody has published as '" + id->publisher()->str() + "'"};
}

// `event` is the body, aligned.
std::unique_ptr<wire::ScheduledEventT> ScheduleRequests::to_wire(const ScheduledRow& row, const Buffer& event) const {
  const auto* envelope = wire::trusted_event(event);
  auto info = std::make_unique<wire::ScheduledEventT>();
  info->id = std::make_unique<wire::ScheduleIdT>();
  info->id->publisher = state_.publishers.name(row.id.publisher);
  info->id->sequence = row.id.sequence;
  info->due_at = nanoseconds(row.due);
  info->scheduled_at = nanoseconds(row.added_at);
  info->topic = envelope->topic()->str();
  info->type = envelope->type()->str();
  info->key = flatbuffers::GetString(envelope->key());
  info->event_id = envelope->id()->str();
  info->bytes = static_cast<std::uint32_t>(row.body.size());
  return info;
}

// ---- ls

void ScheduleRequests::list(Asker to, const wire::ScheduleRequest& ask) {
  auto spec = Filter::check(ask.filter());
  if (!spec) return answers_.refuse(to, spec.error());
  if (spec->time_from != 0 || spec->time_to != 0 || !spec->attributes.empty()) {
    return answers_.refuse(to, {Code::bad_filter, "scheduled events are found by topic, type, key and priority, not by what else they have"});
  }
  std::vector<Hash128> keys;
  for (const auto& key : spec->keys) keys.push_back(hash128(bytes_of(key), key_secret_));
  auto list = std::make_shared<Listing>(Listing{to, Filter(std::move(*spec), key_secret_), std::move(keys)});
  if (ask.publisher() != nullptr) {
    list->publisher = state_.publishers.find(ask.publisher()->string_view()).value_or(0);  // 0: nobody has that name
  }
  if (ask.after() != nullptr) list->after.assign(ask.after()->begin(), ask.after()->end());
  list->limit = ask.limit() != 0 ? ask.limit() : rows_a_read;
  go_on(std::move(list));
}

bool ScheduleRequests::wants(Listing& list, const ScheduledRow& row) const {
  if (list.publisher && *list.publisher != row.id.publisher) return false;
  if (!list.keys.empty() && std::find(list.keys.begin(), list.keys.end(), row.key) == list.keys.end()) return false;
  return list.filter.matches_kind({row.topic, row.type, row.priority, row.flags, 0}, state_);
}

// From one part of the table to the next, until enough has been found, or looked at.
void ScheduleRequests::go_on(std::shared_ptr<Listing> list) {
  ReadRows ask{store::Table::schedule, list->after.empty() ? "" : list->after + '\0', {}, rows_a_read, limits::read_bytes_max,
               store::Damaged::empty};
  reads_.ask(std::move(ask), [this, list](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(list->to, answer.error());
    const auto& rows = std::get<store::Rows>(*answer);
    auto& reply = list->reply;
    for (const auto& [key, value] : rows) {
      const auto row = ScheduledRow::decode(key, value);
      list->after = key;
      ++list->rows;
      const bool is_sound = row && state_.publishers.has(row->id.publisher) && state_.topics.has(row->topic) && state_.types.has(row->type);
      if (!is_sound) continue;  // the status tells of it
      if (!wants(*list, *row)) continue;
      auto info = to_wire(*row, copy_of(row->body));
      list->bytes += 160 + info->id->publisher.size() + info->topic.size() + info->type.size() + info->key.size();
      reply.events.push_back(std::move(info));
      if (reply.events.size() == list->limit || list->bytes > limits::reply_bytes_target) break;
    }
    const bool is_full = reply.events.size() == list->limit || list->bytes > limits::reply_bytes_target || list->rows >= rows_a_request;
    if (!rows.empty() && !is_full) return go_on(list);
    if (!rows.empty()) reply.more.assign(list->after.begin(), list->after.end());
    answers_.answer(list->to, std::move(reply));
  });
}

// ---- show

void ScheduleRequests::show(Asker to, const wire::ScheduleGet& ask) {
  const auto id = find(ask.id());
  if (!id) return answers_.refuse(to, id.error());
  ReadRowsOf rows_of{store::Table::schedule_ids, {schedule_id_key(*id, true), schedule_id_key(*id, false)}};
  reads_.ask(std::move(rows_of), [this, to, id = *id](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& rows = std::get<store::Rows>(*answer);
    if (rows.empty()) return answers_.refuse(to, {Code::not_found, "no such event is in the schedule, nor was lately"});
    const auto row = ScheduleIdRow::decode(rows.front().second);
    if (!row) return answers_.refuse(to, bad_row("schedule_ids"));
    if (row->fate == ScheduleFate::waiting) return show_waiting(to, id, row->due);
    wire::ScheduleGetReplyT reply;
    reply.fate = static_cast<wire::ScheduleFate>(row->fate);
    reply.position = number(row->position);
    answers_.answer(to, std::move(reply));
  });
}

void ScheduleRequests::show_waiting(Asker to, ScheduleId id, WallTime due) {
  reads_.ask(ReadRowsOf{store::Table::schedule, {schedule_key(due, id)}}, [this, to](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& rows = std::get<store::Rows>(*answer);
    if (rows.empty()) return answers_.refuse(to, {Code::not_found, "it was published or cancelled just now"});
    const auto row = ScheduledRow::decode(rows.front().first, rows.front().second);
    if (!row) return answers_.refuse(to, bad_row("schedule"));
    auto event = copy_of(row->body);
    wire::ScheduleGetReplyT reply;
    reply.event = to_wire(*row, event);
    answers_.answer(to, std::move(reply), Frame::of(std::move(event)));
  });
}

// ---- cancel and run-now

void ScheduleRequests::cancel(Asker to, const wire::ScheduleCancel& ask) {
  const auto count = ask.ids() != nullptr ? ask.ids()->size() : 0;
  if (count == 0 || count > limits::schedule_ids_max) {
    return answers_.refuse(to, {Code::bad_request, std::to_string(count) + " events; 1 to " + std::to_string(limits::schedule_ids_max) + " may be named"});
  }
  std::vector<ScheduleId> ids;
  for (const auto* one : *ask.ids()) {
    const auto id = find(one);
    if (!id && id.error().code == Code::bad_request) return answers_.refuse(to, id.error());
    ids.push_back(id ? *id : ScheduleId());  // which nothing has
  }
  schedule_.cancel(std::move(ids), [this, to](Result<std::vector<Code>> done) {
    if (!done) return answers_.refuse(to, done.error());
    wire::ScheduleCancelledT reply;
    reply.codes = std::move(*done);
    answers_.answer(to, std::move(reply));
  });
}

void ScheduleRequests::run(Asker to, const wire::ScheduleRun& ask) {
  const auto id = find(ask.id());
  if (!id) return answers_.refuse(to, id.error());
  if (intake_.log_full()) return answers_.refuse(to, {Code::log_full, "no space is left for events; free some, or move the log to a larger disk"});
  schedule_.run(*id, [this, to](Result<Staged> done) {
    if (!done) return answers_.refuse(to, done.error());
    wire::ScheduleRunReplyT reply;
    reply.position = number(done->position);
    reply.version = done->version;
    answers_.answer(to, std::move(reply));
  });
}

}  // namespace bus::broker
