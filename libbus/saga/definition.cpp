// What a saga's definition says, whether it makes sense, and the hash of it.
#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "bus/saga.hpp"

namespace bus::saga {

namespace {

// Beyond any of them nobody waits: a year.
constexpr Duration time_max = std::chrono::hours(24 * 366);
constexpr std::uint32_t retries_max = 1000;

Error bad(const std::string& what) { return {Code::bad_argument, what}; }

bool is_name(std::string_view name) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; };
  return !name.empty() && name.size() <= name_bytes_max && std::all_of(name.begin(), name.end(), is_letter);
}

std::string name_rule(const std::string& name) { return "'" + name + "' is not a name of 1 to " + std::to_string(name_bytes_max) + " letters, digits, - and _"; }

Result<void> check_time(const std::string& what, std::optional<Duration> time) {
  if (!time || (*time > 0s && *time <= time_max)) return {};
  return bad(what + " is not between 1 ns and 366 days");
}

Result<void> check_policy(const std::string& what, const RetryPolicy& policy) {
  if (policy.retries > retries_max) return bad(what + " has more than " + std::to_string(retries_max) + " retries");
  if (policy.first < 0s || policy.first > time_max || policy.cap < 0s || policy.cap > time_max) return bad(what + " has a delay that is not between 0 and 366 days");
  if (!(policy.jitter >= 0 && policy.jitter <= 1)) return bad(what + " has a jitter that is not between 0 and 1");
  return {};
}

Result<void> check_compensation(const Step& step, const std::string& where) {
  const auto& undo = step.compensation();
  if (step.kind() == Step::Kind::signal && undo.kind == Compensation::Kind::unsaid) return {};  // nobody has done anything
  if (undo.kind == Compensation::Kind::unsaid) return bad(where + "does not say how it is undone: compensate() it, or say no_compensation()");
  if (undo.kind == Compensation::Kind::local && !undo.action) return bad(where + "has a compensation without a function");
  if (undo.kind == Compensation::Kind::remote && undo.topic.empty()) return bad(where + "has a compensation without the topic of its commands");
  return check_policy(where + "its compensation", undo.retry);
}

Result<void> check_work(const Step& step, const std::string& where) {
  switch (step.kind()) {
    case Step::Kind::unsaid: return bad(where + "does nothing: run() a function, send a command(), or wait_for() a signal");
    case Step::Kind::local: return step.action() ? Result<void>() : bad(where + "has no function to run");
    case Step::Kind::remote: return !step.topic().empty() ? Result<void>() : bad(where + "has no topic for its command");
    case Step::Kind::signal: return is_name(step.signal()) ? Result<void>() : bad(where + "its signal: " + name_rule(step.signal()));
  }
  return {};
}

Result<void> check_step(const Step& step) {
  if (!is_name(step.name())) return bad("step " + name_rule(step.name()));
  const std::string where = "step '" + step.name() + "': it ";
  if (auto good = check_work(step, where); !good) return good;
  if (auto good = check_compensation(step, where); !good) return good;
  if (auto good = check_policy(where + "its retry policy", step.retry()); !good) return good;
  if (auto good = check_time(where + "its attempt_timeout", step.attempt_timeout()); !good) return good;
  return check_time(where + "its timeout", step.timeout());
}

std::array<std::uint8_t, 8> big_endian(std::uint64_t number) {
  std::array<std::uint8_t, 8> bytes;
  for (std::size_t at = 0; at < 8; ++at) bytes[at] = static_cast<std::uint8_t>(number >> (56 - 8 * at));
  return bytes;
}

// Everything that could change what happens, one part after the other, each with its length.
class Text {
 public:
  Text& add(std::string_view text) {
    text_ += std::to_string(text.size()) + ':';
    text_ += text;
    return *this;
  }
  Text& add(std::uint64_t number) { return add(std::string_view(std::to_string(number))); }
  Text& add(std::optional<Duration> time) { return time ? add(static_cast<std::uint64_t>(time->count())) : add(std::string_view("-")); }
  Text& add(const RetryPolicy& policy) {
    add(static_cast<std::uint64_t>(policy.kind)).add(policy.retries).add(std::optional(policy.first)).add(std::optional(policy.cap));
    add(static_cast<std::uint64_t>(std::lround(policy.jitter * 1e6))).add(policy.not_retried.size());
    for (const auto& code : policy.not_retried) add(code);
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

// ---- retries

std::optional<Duration> RetryPolicy::delay(std::uint32_t failed, std::string_view code, std::uint64_t salt) const {
  if (failed == 0 || failed > retries || std::find(not_retried.begin(), not_retried.end(), code) != not_retried.end()) return std::nullopt;
  const auto base = std::chrono::duration<double, std::nano>(first).count();
  const double times = kind == Kind::fixed ? 1 : kind == Kind::linear ? failed : std::ldexp(1.0, static_cast<int>(std::min(failed - 1, 1000u)));
  const double most = static_cast<double>((cap > 0s ? cap : time_max).count());
  double delay = std::min(base * times, most);
  if (jitter > 0) {
    const std::array seed{salt, std::uint64_t{failed}};
    const auto random = checksum({reinterpret_cast<const std::uint8_t*>(seed.data()), sizeof seed}) >> 11;  // 53 bits
    delay -= delay * jitter * static_cast<double>(random) / 9007199254740992.0;
  }
  return Duration(static_cast<Duration::rep>(delay));
}

// ---- steps

Step& Step::run(Action action) { return kind_ = Kind::local, action_ = std::move(action), *this; }
Step& Step::command(std::string topic) { return kind_ = Kind::remote, topic_ = std::move(topic), *this; }
Step& Step::wait_for(std::string signal) { return kind_ = Kind::signal, signal_ = std::move(signal), *this; }
Step& Step::compensate(Action action) { return compensation_.kind = Compensation::Kind::local, compensation_.action = std::move(action), *this; }
Step& Step::compensate_by_command(std::string topic) { return compensation_.kind = Compensation::Kind::remote, compensation_.topic = std::move(topic), *this; }
Step& Step::no_compensation() { return compensation_.kind = Compensation::Kind::none, *this; }
Step& Step::on_compensation_failure(Compensation::OnFailure what) { return compensation_.on_failure = what, *this; }
Step& Step::retry(RetryPolicy policy) { return retry_ = std::move(policy), *this; }
Step& Step::retry_compensation(RetryPolicy policy) { return compensation_.retry = std::move(policy), *this; }
Step& Step::attempt_timeout(Duration time) { return attempt_timeout_ = time, *this; }
Step& Step::timeout(Duration time) { return timeout_ = time, *this; }
Step& Step::result(std::string type) { return result_ = std::move(type), *this; }
Step& Step::pivot() { return is_pivot_ = true, *this; }

// ---- definitions

Definition& Definition::step(Step step) {
  stages_.push_back(stages());
  steps_.push_back(std::move(step));
  return *this;
}

Definition& Definition::parallel(std::vector<Step> steps) {
  const auto stage = stages();
  for (auto& step : steps) {
    stages_.push_back(stage);
    steps_.push_back(std::move(step));
  }
  return *this;
}

Definition& Definition::input(std::string type) { return input_type_ = std::move(type), *this; }
Definition& Definition::timeout(Duration time) { return timeout_ = time, *this; }
Definition& Definition::compensate_in_parallel() { return compensates_in_parallel_ = true, *this; }

const Step* Definition::find(std::string_view step) const {
  const auto found = std::find_if(steps_.begin(), steps_.end(), [&](const Step& one) { return one.name() == step; });
  return found == steps_.end() ? nullptr : &*found;
}

Result<void> Definition::check() const {
  if (!is_name(name_)) return bad("saga " + name_rule(name_));
  const std::string saga = "saga '" + name_ + "': ";
  if (steps_.empty()) return bad(saga + "it has no steps");
  if (steps_.size() > steps_max) return bad(saga + "it has more than " + std::to_string(steps_max) + " steps");
  if (auto good = check_time(saga + "its timeout", timeout_); !good) return good;
  std::set<std::string_view> names, signals;
  const Step* pivot = nullptr;
  for (std::size_t at = 0; at < steps_.size(); ++at) {
    const Step& step = steps_[at];
    if (auto good = check_step(step); !good) return bad(saga + good.error().detail);
    if (!names.insert(step.name()).second) return bad(saga + "two steps are called '" + step.name() + "'");
    if (step.kind() == Step::Kind::signal && !signals.insert(step.signal()).second) return bad(saga + "two steps wait for the signal '" + step.signal() + "'");
    if (!step.is_pivot()) continue;
    if (pivot != nullptr) return bad(saga + "'" + pivot->name() + "' and '" + step.name() + "' are both the pivot");
    if (std::count(stages_.begin(), stages_.end(), stages_[at]) > 1) return bad(saga + "step '" + step.name() + "' is the pivot, and stands in a parallel group");
    pivot = &step;
  }
  return {};
}

std::string Definition::hash() const {
  Text text;
  text.add(name_).add(input_type_).add(timeout_).add(std::uint64_t{compensates_in_parallel_}).add(steps_.size());
  for (std::size_t at = 0; at < steps_.size(); ++at) {
    const Step& step = steps_[at];
    const auto& undo = step.compensation();
    text.add(stages_[at]).add(step.name()).add(static_cast<std::uint64_t>(step.kind())).add(step.topic()).add(step.signal()).add(step.result());
    text.add(step.retry()).add(step.attempt_timeout()).add(step.timeout()).add(std::uint64_t{step.is_pivot()});
    text.add(static_cast<std::uint64_t>(undo.kind)).add(undo.topic).add(undo.retry).add(static_cast<std::uint64_t>(undo.on_failure));
  }
  const auto hash = hash128(bytes_of(text.text()), 0);
  return hexadecimal(big_endian(hash.high)) + hexadecimal(big_endian(hash.low));
}

}  // namespace bus::saga
