// What is published of decisions: each as an event, and with it what it asks for: the command of a remote step, and the timer.
#pragma once

#include <vector>

#include "libbus/saga/state.hpp"

namespace bus::saga {

// `facts` were decided, and applied to `state`. All of it belongs into one transaction, on condition that the saga's key was where the
// state was. The events of its key are those without `deliver_at`, in this order.
std::vector<NewEvent> effects(const Definition& definition, const State& state, const std::vector<Fact>& facts, WallTime now);

// "SAGA:STEP", or "SAGA:STEP:undo".
std::string idempotency_key(std::string_view saga_id, std::string_view step, bool compensation);
// When the attempt that is open has to have ended; nothing: whenever it does.
std::optional<WallTime> deadline_of(const State& state, std::string_view step);

}  // namespace bus::saga
