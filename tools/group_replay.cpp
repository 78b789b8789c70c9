#include "tools/group_replay.hpp"

#include <memory>
#include <utility>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

constexpr std::size_t given_at_once = 1024;               // more are refused
constexpr auto between_tries = std::chrono::milliseconds(200);

}  // namespace

Filter narrowed(Filter filter, const wire::FilterT& group) {
  if (filter.patterns.empty()) filter.patterns = group.patterns;
  if (filter.types.empty()) filter.types = group.types;
  if (filter.keys.empty()) filter.keys = group.keys;
  if (!filter.since && group.time_from != 0) filter.since = wall_time(group.time_from);
  if (!filter.until && group.time_to != 0) filter.until = wall_time(group.time_to);
  if (filter.priorities.empty()) filter.priorities = group.priorities;
  if (!filter.attributes.empty()) return filter;
  for (const auto& one : group.attributes) filter.attributes.push_back({one->name, one->values});
  return filter;
}

bool GroupReplay::is_over() const { return interrupted() != 0 || summary_.trouble.code != Code::ok; }

// Returns those for which the group has no room now.
std::vector<std::uint64_t> GroupReplay::ask_once() {
  wire::GroupReplayT request;
  request.name = options_.group;
  request.positions = batch_;
  std::vector<std::uint64_t> busy;
  try {
    const auto reply = ask<wire::GroupReplayedT>(client_, std::move(request));
    summary_.given += reply.done;
    for (const auto& refused : reply.refused) {
      if (refused.code() == Code::group_busy) {
        busy.push_back(refused.position());
      } else {
        ++summary_.refused[refused.code()];
      }
    }
  } catch (const Failed& failed) {
    summary_.trouble = failed.error();
    return batch_;
  }
  return busy;
}

// While members settle what they have, there is room again for others.
void GroupReplay::give() {
  for (auto given_up = steady_now() + options_.patience; !batch_.empty() && !is_over();) {
    const auto before = batch_.size();
    batch_ = ask_once();
    if (batch_.empty() || is_over()) break;
    const auto now = steady_now();
    if (batch_.size() < before) given_up = now + options_.patience;
    if (now >= given_up) summary_.trouble = {Code::group_busy, "as much is open in group '" + options_.group + "' as may be"};
    pause_until(std::min(given_up, now + between_tries));
  }
  if (!batch_.empty()) summary_.left = Position{batch_.front()};
}

GroupReplay::Summary GroupReplay::run(const ReplayOptions& range) {
  const auto end = range.to.kind == wire::Start::position ? static_cast<std::uint64_t>(range.to.value) : number(client_.server().committed);
  auto events = client_.replay(range);
  std::unique_ptr<Progress> progress;
  std::uint64_t before = 0;                // the first event
  Error unreadable;
  while (!is_over() && (options_.count == 0 || summary_.events < options_.count)) {
    const auto event = events.read();
    if (!event) unreadable = event.error();
    if (!event || !*event) break;
    const auto at = number((*event)->position());
    if (!progress) {
      before = at - 1;
      progress = std::make_unique<Progress>(options_.dry_run ? "counted" : "given", std::max(at, end) - before);
    }
    if (++summary_.events == 1) summary_.first = Position{at};
    summary_.last = Position{at};
    if (!options_.dry_run) batch_.push_back(at);
    if (batch_.size() == given_at_once) give();
    progress->update(at - before, options_.dry_run ? summary_.events : summary_.given);
  }
  if (!is_over()) give();
  if (summary_.trouble.code == Code::ok) summary_.trouble = unreadable;
  if (is_over() && summary_.events > 0 && summary_.left == Position::none) summary_.left = batch_.empty() ? summary_.last + 1 : Position{batch_.front()};
  return summary_;
}

}  // namespace bus::tools
