#include "broker/core/requests.hpp"

#include <algorithm>

namespace bus::broker {

Result<void> Requests::receive(Session& session, const wire::Request& message, Now now) {
  if (message.request() == 0 || message.ask() == nullptr) {
    return Error{Code::bad_request, "a request needs a number other than 0, and a body"};
  }
  if (session.requests >= limits::requests_per_session_max) {
    return Error{Code::busy, "more than " + std::to_string(limits::requests_per_session_max) + " requests without answer"};
  }
  ++session.requests;
  const Asker to{session.id, message.request()};
  switch (message.ask_type()) {
    case wire::Ask::StatusRequest: return status(to, now), Result<void>();
    case wire::Ask::EventGet: return event(to, Position{message.ask_as_EventGet()->position()}), Result<void>();
    case wire::Ask::LogStatRequest: return log_stat(to), Result<void>();
    case wire::Ask::LogVerify: return log_verify(to, *message.ask_as_LogVerify()), Result<void>();
    default:
      if (group_requests_.receive(to, message, now) || key_requests_.receive(to, message) || schedule_requests_.receive(to, message) ||
          snapshots_.receive(to, message) || retention_.receive(to, message, now) || backup_requests_.receive(to, message, now.steady) ||
          schema_requests_.receive(to, message, now.wall) || topic_requests_.receive(to, message, now)) {
        return {};
      }
  }
  --session.requests;
  return Error{Code::bad_request, "a request of an unknown kind"};
}

void Requests::status(Asker to, Now now) {
  wire::StatusReplyT status;
  status.version = about_.version;
  status.log_id.assign(identity_.log_id.begin(), identity_.log_id.end());
  status.history = identity_.history;
  status.epoch = identity_.epoch;
  status.committed = number(log_.committed());
  status.uptime_ms = static_cast<std::uint64_t>((now.steady - started_) / std::chrono::milliseconds(1));
  status.sessions = static_cast<std::uint32_t>(sessions_.size());
  status.subscriptions = static_cast<std::uint32_t>(delivery_.subscriptions());
  status.topics = state_.topics.size();
  status.types = static_cast<std::uint32_t>(types_.all().size());
  status.groups = static_cast<std::uint32_t>(delivery_.groups().size());
  status.publishers = state_.publishers.size();
  status.commits = staging_.commits();
  status.events = intake_.counters().events;
  status.duplicates = intake_.counters().duplicates;
  status.refused = intake_.counters().refused;
  status.stale_acks = delivery_.counters().stale_acks;
  status.redeliveries = delivery_.redeliveries();
  status.delivered = delivery_.counters().delivered;
  status.staged_bytes = staging_.bytes() + intake_.parked_bytes();
  status.log_full = intake_.log_full();
  status.data_dir = about_.data_dir;
  status.endpoints = about_.endpoints;
  status.keys_resident = state_.keys.size();
  status.dead_letters = delivery_.dead_letters();
  status.scheduled = schedule_.waiting();
  status.auto_create_topics = topics_.auto_create();
  if (schedule_.trouble().code != Code::ok) status.schedule_trouble = schedule_.trouble().detail;
  const Source* last = delivery_.furthest_behind();
  if (last == nullptr) return answers_.answer(to, std::move(status));
  status.lagging_group = last->group->name;
  const Position floor = delivery_.floor(*last);
  status.lag = log_.committed() - floor;
  auto waiting = std::make_shared<wire::StatusReplyT>(std::move(status));
  reads_.ask(ReadRecords{floor + 1}, [this, to, waiting](Result<ReadAnswer> answer) {
    const bool found = answer.ok() && !std::get<std::vector<store::RecordPtr>>(*answer).empty();
    if (found) waiting->oldest_at = nanoseconds(std::get<std::vector<store::RecordPtr>>(*answer).front()->committed_at());
    answers_.answer(to, std::move(*waiting));
  });
}

// ---- events

void Requests::event(Asker to, Position position) {
  if (position == Position::none || position > log_.committed()) {
    return answers_.refuse(to, {Code::not_found, "position " + std::to_string(number(position)) + " is not in the log, which ends at " +
                                            std::to_string(number(log_.committed()))});
  }
  reads_.ask(ReadRecords{position}, [this, to, position](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& records = std::get<std::vector<store::RecordPtr>>(*answer);
    const bool is_there = !records.empty() && records.front()->holds(position) && !records.front()->is_removed(static_cast<std::uint32_t>(position - records.front()->first()));
    if (!is_there) {
      return answers_.refuse(to, {Code::trimmed, "position " + std::to_string(number(position)) + " was removed by retention"});
    }
    tell_event(to, position, *records.front(), records.front());
  });
}

void Requests::tell_event(Asker to, Position position, const store::Record& record, std::shared_ptr<const void> owner) {
  const auto at = static_cast<std::uint32_t>(position - record.first());
  const store::Entry entry = record.entry(at);
  wire::EventReplyT reply;
  reply.delivery = std::make_unique<wire::Delivery>(number(position), entry.key ? entry.key->version : 0,
                                                    nanoseconds(record.committed_at()), entry.sequence, 0, 0);
  reply.publisher = state_.publishers.name(entry.publisher);
  answers_.answer(to, std::move(reply), {std::move(owner), record.body(at)});
}

// ---- the log

void Requests::log_stat(Asker to) {
  reads_.ask(ReadStat{}, [this, to](Result<ReadAnswer> result) {
    if (!result) return answers_.refuse(to, result.error());
    const auto& stat = std::get<store::Stat>(*result);
    wire::LogStatReplyT reply;
    reply.first = number(stat.first);
    reply.last = number(stat.last);
    reply.records = stat.records;
    reply.record_bytes = stat.record_bytes;
    reply.event_bytes = state_.event_bytes;
    reply.first_at = nanoseconds(stat.first_at);
    reply.last_at = nanoseconds(stat.last_at);
    reply.file_bytes = stat.space.file_bytes;
    reply.used_bytes = stat.space.used_bytes;
    reply.map_bytes = stat.map_bytes;
    reply.journal_entries = stat.journal_entries;
    reply.replay_from = number(stat.head.replay_from);
    reply.chain = stat.head.chain;
    reply.chain_at = number(stat.head.committed);
    answers_.answer(to, std::move(reply));
  });
}

void Requests::log_verify(Asker to, const wire::LogVerify& ask) {
  reads_.ask(ReadVerify{Position{ask.from()}, ask.chain()}, [this, to](Result<ReadAnswer> result) {
    if (!result) return answers_.refuse(to, result.error());
    const auto& slice = std::get<store::VerifySlice>(*result);
    wire::VerifyReplyT reply;
    reply.next = number(slice.next);
    reply.chain = slice.chain;
    reply.records = slice.records;
    reply.events = slice.events;
    reply.removed = slice.removed;
    reply.trimmed_to = number(slice.trimmed_to);
    reply.last = number(slice.last);
    for (const auto& range : slice.lost) reply.lost.emplace_back(number(range.first), number(range.last));
    for (const auto& fault : slice.faults) {
      if (reply.faults.size() == limits::faults_max) break;  // the extent is known by then
      auto one = std::make_unique<wire::FaultT>();
      one->position = number(fault.position);
      one->what = fault.what;
      reply.faults.push_back(std::move(one));
    }
    answers_.answer(to, std::move(reply));
  });
}

}  // namespace bus::broker
