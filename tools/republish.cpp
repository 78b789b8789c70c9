#include "tools/republish.hpp"

#include <algorithm>
#include <future>
#include <memory>

#include "tools/as_published.hpp"
#include "tools/cli.hpp"
#include "tools/file_hash.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

namespace {

// Of the events that an earlier run has published, so many are compared with those of this range, because some of them may
// have been refused.
constexpr std::size_t compared_max = 16;

constexpr const char* origin_position = "origin_position";
constexpr const char* origin_log = "origin_log";

bool names_origin(std::string_view attribute) { return attribute.starts_with("origin_"); }

Json sorted(std::vector<std::string> list) {
  std::sort(list.begin(), list.end());
  return list;
}

std::string attribute_of(const Event& event, std::string_view wanted) {
  for (const auto& [name, value] : event.attributes()) {
    if (name == wanted) return std::string(value);
  }
  return "";
}

}  // namespace

NewEvent copy_of(const Event& origin, const std::string& topic, const std::string& log) {
  NewEvent copy = as_published(origin);
  copy.topic = topic;
  copy.id.clear();
  copy.causation_id = origin.id();
  copy.deliver_at = {};
  copy.expires_at = {};
  // Of a copy's copy they name the copy; from there causation leads on.
  std::erase_if(copy.attributes, [](const auto& one) { return names_origin(one.first); });
  copy.attributes.emplace_back(origin_position, std::to_string(number(origin.position())));
  copy.attributes.emplace_back("origin_topic", origin.topic());
  copy.attributes.emplace_back("origin_id", origin.id());
  copy.attributes.emplace_back(origin_log, log);
  return copy;
}

std::string republisher(const ReplayOptions& range, const std::string& topic) {
  const Filter& filter = range.filter;
  const auto time_of = [](const auto& time) { return time ? Json(nanoseconds(*time)) : Json(); };
  std::vector<std::string> priorities, attributes;
  for (const auto priority : filter.priorities) priorities.push_back(wire::EnumNamePriority(priority));
  for (const auto& one : filter.attributes) attributes.push_back(dump({one.name, sorted(one.values)}));
  return "replay-" + text_hash(dump({topic, static_cast<int>(range.from.kind), range.from.value, sorted(filter.patterns), sorted(filter.types),
                                     sorted(filter.keys), time_of(filter.since), time_of(filter.until), sorted(priorities), sorted(attributes)}));
}

Republish::Republish(RepublishOptions options, Client& client)
    : options_(std::move(options)), client_(client), log_(hexadecimal(client.server().log_id)),
      done_before_(options_.dry_run ? 0 : client.server().last_sequence),
      publisher_(client, options_.patience, {"position", "; an earlier run gave this event up, and --as NAME would publish all of them anew"}) {}

// A duplicate's receipt names its place in the log, and the event there its origin.
void Republish::compare_with_earlier_run() {
  is_compared_ = true;
  std::vector<std::future<Result<Receipt>>> answers;
  for (const auto& one : earlier_) {
    auto promise = std::make_shared<std::promise<Result<Receipt>>>();
    answers.push_back(promise->get_future());
    client_.publish_at(one.sequence, one.copy, [promise](Result<Receipt> receipt) { promise->set_value(std::move(receipt)); });
  }
  for (auto at = answers.size(); at-- > 0;) {
    if (answers[at].wait_for(options_.patience) != std::future_status::ready) fail(Code::timed_out, "the broker does not say what '" + options_.publisher + "' has published");
    const auto receipt = answers[at].get();
    if (!receipt && (receipt.error().code == Code::refused_before || receipt.error().code == Code::trimmed)) continue;
    const auto stored = fetch_event(client_, receipt.value().position);
    const auto& wanted = earlier_[at];
    if (attribute_of(stored, origin_log) == log_ && attribute_of(stored, origin_position) == std::to_string(number(wanted.origin)) &&
        stored.topic() == options_.topic) {
      break;
    }
    fail(Code::conflict, "'" + options_.publisher + "' has published something else: its event " + std::to_string(wanted.sequence) + " is at position " +
                             std::to_string(number(stored.position())) + " and is no copy of position " + std::to_string(number(wanted.origin)) +
                             " to " + options_.topic + "; run it with the same --from and filter, or --as another name");
  }
  earlier_.clear();
}

void Republish::take(const Event& event) {
  if (event.topic() == options_.topic) {
    ++summary_.own;
    return;
  }
  const auto sequence = ++summary_.events;
  if (sequence == 1) summary_.first = event.position();
  summary_.last = event.position();
  if (options_.dry_run) return;
  if (sequence <= done_before_) {
    ++summary_.duplicates;
    earlier_.push_back({sequence, event.position(), copy_of(event, options_.topic, log_)});
    if (earlier_.size() > compared_max) earlier_.pop_front();
    return;
  }
  if (!is_compared_) compare_with_earlier_run();
  publisher_.publish(sequence, number(event.position()), copy_of(event, options_.topic, log_));
}

void Republish::read(Replay& events, Position end) {
  std::unique_ptr<Progress> progress;
  std::uint64_t before = 0;                // the first event
  while (!publisher_.over() && (options_.count == 0 || summary_.events < options_.count)) {
    const auto event = events.read();
    if (!event) unreadable_ = event.error();
    if (!event || !*event) return;
    const auto at = number((*event)->position());
    if (!progress) {
      before = at - 1;
      progress = std::make_unique<Progress>(options_.dry_run ? "counted" : "published", std::max(at, number(end)) - before);
    }
    take(**event);
    progress->update(at - before, summary_.events);
  }
}

Republish::Summary Republish::run(const ReplayOptions& range) {
  auto events = client_.replay(range);
  const bool ends_there = range.to.kind == wire::Start::position;
  read(events, ends_there ? Position{static_cast<std::uint64_t>(range.to.value)} : client_.server().committed);
  if (!options_.dry_run) {
    if (!is_compared_ && !publisher_.over()) compare_with_earlier_run();
    summary_.published = publisher_.finish();
  }
  if (unreadable_.code != Code::ok) summary_.published.trouble = unreadable_;
  return summary_;
}

}  // namespace bus::tools
