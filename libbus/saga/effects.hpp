// What is published of a decision: it as an event, and what it asks for: the command of a remote step, or the timer.
#pragma once

#include <vector>

#include "libbus/saga/state.hpp"

namespace bus::saga {

// Appends those of a fact that was decided, and applied to `state`. They belong into one transaction, on condition that the saga's key was where
// the state was before it. The events of its key are those without `deliver_at`, in this order.
void add_effects(std::vector<NewEvent>& events, const Definition& definition, const State& state, const Fact& fact, WallTime now);

// "SAGA:STEP", or "SAGA:STEP:undo".
std::string idempotency_key(std::string_view saga_id, std::string_view step, bool compensation);
// When the attempt that is open has to have ended; nothing: whenever it does.
std::optional<WallTime> deadline_of(const State& state, const Step& step);

}  // namespace bus::saga
