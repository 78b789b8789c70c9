// A step of a transaction, as an Outbox takes it: checked, encoded, and its receipts gathered.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "batch.hpp"
#include "outbox.hpp"

namespace bus {

struct StepParts {
  std::span<const NewEvent> events;
  std::span<const Condition> conditions;   // they stand with the first event, or snapshot
  std::span<const NewSnapshot> snapshots;
};

// Errors: bad_argument, bad_key.
Result<void> check_step(const StepParts& parts);

// "PUBLISHER/SEQUENCE", as a receipt has it. Error bad_argument: too many, or one is none, or is there twice.
Result<std::vector<wire::ScheduleIdT>> schedule_ids(std::span<const std::string> texts);

// The items are views of the rest, and of the parts.
struct EncodedStep {
  std::vector<Buffer> bodies;
  std::vector<Condition> of_first;
  std::vector<Outbox::Item> items;
  BatchStep with;
  Needs needs;
  std::size_t bytes = 0;
};
// Errors: bad_argument (more than a transaction takes), those of encode_event().
Result<EncodedStep> encode_step(const StepParts& parts, BatchStep with, WallTime now);

// The receipts of a step as they come, in order: those of its events first. A step without events has one, which tells no more.
class StepReceipts {
 public:
  using Done = std::function<void(Result<std::vector<Receipt>>)>;
  StepReceipts(const StepParts& parts, Done done) : events_(parts.events.size()), wanted_(std::max<std::size_t>(events_ + parts.snapshots.size(), 1)), done_(std::move(done)) {}
  // With the last one `done` is called.
  void tell(Result<Receipt> receipt);

 private:
  std::size_t events_, wanted_, told_ = 0;
  Done done_;
  std::vector<Receipt> receipts_;
  std::optional<Error> error_;             // step_refused only tells that there is another
};

}  // namespace bus
