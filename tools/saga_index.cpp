#include "tools/saga_index.hpp"

#include <algorithm>
#include <stdexcept>

#include "bus/suoke_saga_generated.h"

namespace bus::tools {

namespace {

namespace saga_events = suoke::saga;

constexpr std::size_t error_bytes_max = 300;

// ---- bytes

void put_number(std::string& out, std::uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}
void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out += text;
}
void put_time(std::string& out, WallTime time) { put_number(out, static_cast<std::uint64_t>(nanoseconds(time))); }

class RowReader {
 public:
  explicit RowReader(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (const char c : take(8)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  std::string text() { return std::string(take(number())); }
  WallTime time() { return wall_time(static_cast<std::int64_t>(number())); }

 private:
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size()) throw std::runtime_error("the row of a saga is cut off");
    const auto taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  std::string_view bytes_;
};

std::string row_key(std::string_view saga_id) { return "s" + std::string(saga_id); }

std::string index_prefix(std::string_view state) {
  const auto at = std::find(std::begin(saga_states), std::end(saga_states), state) - std::begin(saga_states);
  return std::string("i") + static_cast<char>('a' + at);
}
constexpr std::size_t index_id_at = 2 + 8;  // behind the prefix and the time

// The last that was started comes first.
std::string index_key(const SagaRow& row) {
  auto key = index_prefix(row.state());
  put_number(key, ~static_cast<std::uint64_t>(nanoseconds(row.started_at)));
  return key + row.saga_id;
}
WallTime started_in(std::string_view key) {
  return wall_time(static_cast<std::int64_t>(~RowReader(key.substr(2)).number()));
}

// ---- the fold

// What one event changes of a row. An event of a kind that says nothing of it changes nothing.
class RowFold {
 public:
  RowFold(SagaRow& row, const Event& event) : row_(row), event_(event), time_(event.time()) {}

  void apply(std::string_view type) {
    if (type == "StepStarted") begin<saga_events::StepStarted>("running", false);
    else if (type == "StepCompensationStarted") begin<saga_events::StepCompensationStarted>("compensating", true);
    else if (type == "StepAttemptFailed") attempt_failed();
    else if (type == "StepCompleted") end<saga_events::StepCompleted>();
    else if (type == "StepFailed") step_failed();
    else if (type == "StepSkipped") end<saga_events::StepSkipped>();
    else if (type == "StepCompensated") end<saga_events::StepCompensated>();
    else if (type == "StepCompensationFailed") end<saga_events::StepCompensationFailed>();
    else if (type == "SagaParked") park();
    else if (type == "StepRetryRequested") try_again();
    else if (type == "SagaPaused") row_.paused_at = row_.paused_at.value_or(time_);
    else if (type == "SagaResumed") resume();
    else if (type == "CompensationStarted") turn_back();
    else if (type == "SagaCompleted") end_saga("completed", "");
    else if (type == "SagaFailed") saga_failed();
  }

 private:
  template <typename Table>
  const Table& as() const {
    return *event_.as<Table>().value();
  }
  static std::string text(const flatbuffers::String* one) { return one != nullptr ? one->str().substr(0, error_bytes_max) : std::string(); }

  std::vector<SagaRow::Active>::iterator find(const std::string& step) {
    return std::find_if(row_.active.begin(), row_.active.end(), [&](const auto& one) { return one.step == step; });
  }
  // The time of a step counts from its first attempt.
  template <typename Table>
  void begin(const std::string& status, bool undoes) {
    const auto step = as<Table>().step_id()->str();
    auto one = find(step);
    if (one == row_.active.end()) one = row_.active.insert(one, {step, "", "", time_, time_});
    if (!one->status.empty() && one->is_undone() != undoes) begin_anew(*one);
    one->status = status;
    one->since = time_;
  }
  void begin_anew(SagaRow::Active& one) {
    one.begun = time_;
    one.paused = Duration(0);
    one.error.clear();
  }
  void set(const std::string& step, const std::string& status, const std::string& error = "") {
    const auto one = find(step);
    if (one == row_.active.end()) return;
    one->status = status;
    one->error = error;
    one->since = time_;
  }
  template <typename Table>
  void end() {
    const auto one = find(as<Table>().step_id()->str());
    if (one != row_.active.end()) row_.active.erase(one);
  }
  void attempt_failed() {
    const auto& fact = as<saga_events::StepAttemptFailed>();
    set(fact.step_id()->str(), fact.compensation() ? "compensation_retrying" : "retrying");
  }
  void step_failed() {
    const auto& fact = as<saga_events::StepFailed>();
    if (row_.error.empty()) row_.error = fact.step_id()->str() + ": " + text(fact.error());
    end<saga_events::StepFailed>();
  }
  void park() {
    const auto& fact = as<saga_events::SagaParked>();
    set(fact.step_id()->str(), fact.compensation() ? "compensation_parked" : "parked", text(fact.error()));
  }
  // It has all its time again.
  void try_again() {
    const auto one = find(as<saga_events::StepRetryRequested>().step_id()->str());
    if (one == row_.active.end() || !one->is_parked()) return;
    one->status = one->is_undone() ? "compensation_retrying" : "retrying";
    one->since = time_;
    begin_anew(*one);
  }
  void resume() {
    if (!row_.paused_at) return;
    for (auto& one : row_.active) one.paused += std::max(Duration(0), time_ - std::max(*row_.paused_at, one.begun));
    row_.paused_at.reset();
  }
  // Its cause is the first that there was, be it a step, a person or the time.
  void turn_back() {
    row_.status = "compensating";
    if (const auto cause = text(as<saga_events::CompensationStarted>().cause()); !cause.empty()) row_.error = cause;
  }
  void end_saga(const std::string& status, const std::string& error) {
    row_.status = status;
    row_.error = error;
    row_.active.clear();
    row_.paused_at.reset();
  }
  void saga_failed() {
    const auto& fact = as<saga_events::SagaFailed>();
    end_saga(fact.outcome() == saga_events::Outcome::compensation_failed ? "compensation_failed" : "compensated", text(fact.error()));
  }

  SagaRow& row_;
  const Event& event_;
  WallTime time_;
};

SagaRow started_row(const Event& event) {
  const auto* fact = event.as<saga_events::SagaStarted>().value();
  const auto text = [](const flatbuffers::String* one) { return one != nullptr ? one->str() : std::string(); };
  SagaRow row;
  row.saga_id = event.key();
  row.definition = text(fact->name());
  row.hash = text(fact->definition_hash());
  row.user_id = text(fact->user_id());
  row.status = "running";
  row.started_at = row.since = row.last_at = event.time();
  return row;
}

}  // namespace

// ---- rows

std::string_view SagaRow::state() const {
  if (has_ended()) return status;
  if (std::any_of(active.begin(), active.end(), [](const auto& one) { return one.is_parked(); })) return "parked";
  return paused_at ? std::string_view("paused") : std::string_view(status);
}

std::string SagaRow::errors() const {
  auto text = error;
  for (const auto& one : active) {
    if (one.is_parked()) text += (text.empty() ? "" : "; ") + one.step + ": " + one.error;
  }
  return text;
}

std::string SagaRow::encode() const {
  std::string out;
  for (const auto* text : {&saga_id, &definition, &hash, &user_id, &error, &status}) put_text(out, *text);
  put_number(out, paused_at.has_value());
  put_time(out, paused_at.value_or(WallTime()));
  for (const auto time : {started_at, since, last_at}) put_time(out, time);
  put_number(out, active.size());
  for (const auto& one : active) {
    put_text(out, one.step);
    put_text(out, one.status);
    put_text(out, one.error);
    put_time(out, one.since);
    put_time(out, one.begun);
    put_number(out, static_cast<std::uint64_t>(one.paused.count()));
  }
  return out;
}

SagaRow SagaRow::decode(std::string_view bytes) {
  RowReader in(bytes);
  SagaRow row;
  for (auto* text : {&row.saga_id, &row.definition, &row.hash, &row.user_id, &row.error, &row.status}) *text = in.text();
  const bool is_paused = in.number() != 0;
  if (const auto time = in.time(); is_paused) row.paused_at = time;
  for (auto* time : {&row.started_at, &row.since, &row.last_at}) *time = in.time();
  for (auto left = in.number(); left > 0; --left) {
    auto& one = row.active.emplace_back();
    one.step = in.text();
    one.status = in.text();
    one.error = in.text();
    one.since = in.time();
    one.begun = in.time();
    one.paused = Duration(static_cast<Duration::rep>(in.number()));
  }
  return row;
}

// ---- the projection

Filter saga_index_filter() {
  Filter filter;
  filter.patterns = {"saga.*.*"};
  for (const char* type : {"SagaStarted", "StepStarted", "StepAttemptFailed", "StepCompleted", "StepFailed", "StepSkipped", "CompensationStarted", "StepCompensationStarted", "StepCompensated",
                           "StepCompensationFailed", "SagaCompleted", "SagaFailed", "SagaParked", "SagaPaused", "SagaResumed", "StepRetryRequested"}) {
    filter.types.push_back(std::string("suoke.saga.") + type);
  }
  return filter;
}

void fold_saga(const Event& event, Projection::State& state) {
  if (event.key().empty()) return;
  const auto key = row_key(event.key());
  const auto bytes = state.get(key);
  const auto type = event.type().substr(event.type().rfind('.') + 1);
  if (type == "SagaStarted") {
    if (bytes) return;
    const auto row = started_row(event);
    state.put(index_key(row), "+");
    return state.put(key, row.encode());
  }
  if (!bytes) return;  // retention has removed how it began
  auto row = SagaRow::decode(*bytes);
  if (row.has_ended()) return;
  const auto before = index_key(row);
  const auto state_before = std::string(row.state());
  RowFold(row, event).apply(type);
  row.last_at = event.time();
  if (row.state() != state_before) {
    row.since = event.time();
    state.erase(before);
    state.put(index_key(row), "+");
  }
  state.put(key, row.encode());
}

std::vector<SagaRow> find_sagas(const Projection::Snapshot& rows, const SagaQuery& query) {
  std::vector<SagaRow> found;
  for (const auto state : query.states) {
    std::size_t here = 0;
    rows.scan(index_prefix(state), [&](std::string_view key, std::string_view) {
      if (query.started_before && started_in(key) > *query.started_before) return true;
      const auto bytes = rows.get(row_key(key.substr(index_id_at))).value();
      if (!bytes) return true;
      auto row = SagaRow::decode(*bytes);
      const bool has_step = query.step.empty() || std::any_of(row.active.begin(), row.active.end(), [&](const auto& one) { return one.step == query.step; });
      const bool is_wanted = has_step && (query.definition.empty() || row.definition == query.definition) && (query.user.empty() || row.user_id == query.user);
      if (is_wanted) found.push_back(std::move(row));
      here += is_wanted;
      return query.limit == 0 || here < query.limit;
    }).value();
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& one, const auto& other) { return one.started_at > other.started_at; });
  if (query.limit != 0 && found.size() > query.limit) found.resize(query.limit);
  return found;
}

}  // namespace bus::tools
