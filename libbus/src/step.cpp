#include "step.hpp"

#include <charconv>
#include <iterator>
#include <set>

#include "base/limits.hpp"
#include "event_encoder.hpp"

namespace bus {

Result<void> check_step(const StepParts& parts) {
  const auto items = parts.events.size() + parts.snapshots.size();
  if (items > limits::step_events_max) {
    return Error{Code::bad_argument, std::to_string(items) + " events and snapshots; a transaction has " + std::to_string(limits::step_events_max) + " at most"};
  }
  std::size_t count = parts.conditions.size();
  if (auto good = check_conditions(parts.conditions, false); !good) return good;
  for (const Condition& condition : parts.conditions) {
    if (condition.expect == wire::Expect::unique_id) return Error{Code::bad_argument, "unique_id is a condition of an event, not of the transaction"};
  }
  for (const NewEvent& event : parts.events) {
    count += event.conditions.size();
    if (auto good = check_conditions(event.conditions, !event.key.empty()); !good) return good;
  }
  for (const NewSnapshot& snapshot : parts.snapshots) {
    if (auto good = check_snapshot(snapshot); !good) return good;
  }
  if (count <= limits::conditions_max) return {};
  return Error{Code::bad_argument, std::to_string(count) + " conditions; a transaction has " + std::to_string(limits::conditions_max) + " at most"};
}

Result<std::vector<wire::ScheduleIdT>> schedule_ids(std::span<const std::string> texts) {
  if (texts.size() > limits::schedule_ids_max) {
    return Error{Code::bad_argument, std::to_string(texts.size()) + " cancels; a transaction has " + std::to_string(limits::schedule_ids_max) + " at most"};
  }
  std::vector<wire::ScheduleIdT> ids;
  std::set<std::pair<std::string, std::uint64_t>> named;
  for (const std::string& text : texts) {
    const auto slash = text.rfind('/');
    wire::ScheduleIdT id;
    if (slash != std::string::npos) {
      id.publisher = text.substr(0, slash);
      const auto* end = text.data() + text.size();
      const auto [after, error] = std::from_chars(text.data() + slash + 1, end, id.sequence);
      if (error != std::errc{} || after != end) id.sequence = 0;
    }
    if (id.publisher.empty() || id.publisher.size() > limits::publisher_bytes_max || id.sequence == 0) {
      return Error{Code::bad_argument, "'" + text + "' is no schedule id, which is a publisher's name, / and a sequence, as a receipt has it"};
    }
    if (!named.emplace(id.publisher, id.sequence).second) return Error{Code::bad_argument, "scheduled event '" + text + "' is cancelled twice"};
    ids.push_back(std::move(id));
  }
  return ids;
}

Result<EncodedStep> encode_step(const StepParts& parts, BatchStep with, WallTime now) {
  EncodedStep step;
  step.needs = {true, !parts.snapshots.empty(), false};
  const auto encode = [&](const NewEvent& event) -> Result<void> {
    const auto one = encode_event(event, now);
    if (!one) return one.error();
    step.bodies.push_back(copy_of(*one));
    return {};
  };
  for (const NewEvent& event : parts.events) {
    if (auto good = encode(event); !good) return good.error();
  }
  for (const NewSnapshot& snapshot : parts.snapshots) {
    if (auto good = encode({.topic = {}, .type = snapshot.type, .key = snapshot.key, .payload = snapshot.state}); !good) return good.error();
  }
  with.without_events = step.bodies.empty();
  if (with.without_events) step.bodies.emplace_back(std::begin(no_event), std::end(no_event));
  step.needs.cancels = with.without_events || !with.cancels.empty();
  step.of_first.assign(parts.conditions.begin(), parts.conditions.end());
  if (!parts.events.empty()) step.of_first.insert(step.of_first.end(), parts.events[0].conditions.begin(), parts.events[0].conditions.end());
  std::size_t header = header_bytes(with);
  for (std::size_t at = 0; at < step.bodies.size(); ++at) {
    Outbox::Item& item = step.items.emplace_back(Outbox::Item{step.bodies[at]});
    if (at == 0) item.conditions = step.of_first;
    else if (at < parts.events.size()) item.conditions = parts.events[at].conditions;
    if (at >= parts.events.size() && !with.without_events) item.snapshot = &parts.snapshots[at - parts.events.size()];
    step.bytes += step.bodies[at].size();
    header += item.header_bytes();
    step.needs.snapshots |= needs_of(item.conditions).snapshots;
  }
  if (step.bytes > limits::batch_bytes_max || header > limits::step_header_bytes_max) {
    return Error{Code::bad_argument, "a transaction has " + std::to_string(limits::batch_bytes_max) + " bytes of events and snapshots at most, and " +
                                         std::to_string(limits::step_header_bytes_max) + " of conditions, settlements and cancels"};
  }
  step.with = std::move(with);
  return step;
}

void StepReceipts::tell(Result<Receipt> receipt) {
  if (receipt) receipts_.push_back(*std::move(receipt));
  else if (!error_ || error_->code == Code::step_refused) error_ = receipt.error();
  if (++told_ < wanted_) return;
  if (error_) return done_(*std::move(error_));
  receipts_.resize(events_);
  done_(std::move(receipts_));
}

}  // namespace bus
