#include "libbus/saga/facts.hpp"

#include <algorithm>
#include <type_traits>

namespace bus::saga {

namespace {

template <typename T>
constexpr bool is_decided_on = std::is_same_v<T, SagaStartedT> || std::is_same_v<T, SagaTimerT> || std::is_same_v<T, StepReplyT> || std::is_same_v<T, SagaSignalledT> ||
                               std::is_same_v<T, SagaResumedT> || std::is_same_v<T, SagaCancelRequestedT> || std::is_same_v<T, StepRetryRequestedT> ||
                               std::is_same_v<T, StepSkippedT> || std::is_same_v<T, CompensationRequestedT>;

template <typename T>
constexpr bool is_done = std::is_same_v<T, StepStartedT> || std::is_same_v<T, StepCompensationStartedT>;

// Calls `visit` with a null pointer to each kind of fact.
template <typename Visit, std::size_t... at>
void each_kind(Visit visit, std::index_sequence<at...>) {
  (visit(static_cast<std::variant_alternative_t<at, Fact>*>(nullptr)), ...);
}
template <typename Visit>
void each_kind(Visit visit) {
  each_kind(visit, std::make_index_sequence<std::variant_size_v<Fact>>());
}

template <typename T>
using TableOf = typename T::TableType;

}  // namespace

std::string_view fact_name(const Fact& fact) {
  return std::visit([](const auto& one) -> std::string_view {
    const std::string_view full = TableOf<std::decay_t<decltype(one)>>::GetFullyQualifiedName();
    return full.substr(full.rfind('.') + 1);
  }, fact);
}

std::string topic_word(std::string_view table) {
  std::string word;
  for (const char c : table) {
    const bool is_capital = c >= 'A' && c <= 'Z';
    if (is_capital && !word.empty()) word += '_';
    word += is_capital ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return word;
}

const std::string& saga_id_of(const Fact& fact) {
  return std::visit([](const auto& one) -> const std::string& { return one.saga_id; }, fact);
}

NewEvent event_of(const Fact& fact, const std::string& definition, const std::string& hash, WallTime now) {
  NewEvent event;
  event.topic = "saga." + definition + "." + topic_word(fact_name(fact));
  event.time = now;
  event.key = event.correlation_id = saga_id_of(fact);
  std::visit([&](const auto& one) {
    using T = std::decay_t<decltype(one)>;
    set_payload(event, one);
    if constexpr (is_decided_on<T> || is_done<T>) event.attributes.emplace_back(hash_attribute, hash);
  }, fact);
  return event;
}

std::optional<Fact> fact_of(std::string_view type, std::span<const std::uint8_t> payload) {
  std::optional<Fact> fact;
  each_kind([&]<typename T>(T*) {
    if (fact || type != TableOf<T>::GetFullyQualifiedName()) return;
    fact.emplace(std::in_place_type<T>);
    flatbuffers::GetRoot<TableOf<T>>(payload.data())->UnPackTo(&std::get<T>(*fact));
  });
  return fact;
}

std::vector<std::string> decided_types() {
  std::vector<std::string> types;
  each_kind([&]<typename T>(T*) {
    if (is_decided_on<T>) types.emplace_back(TableOf<T>::GetFullyQualifiedName());
  });
  return types;
}

std::vector<std::string> done_types() {
  return {::suoke::saga::StepStarted::GetFullyQualifiedName(), ::suoke::saga::StepCompensationStarted::GetFullyQualifiedName()};
}

Value value_of(const std::unique_ptr<::suoke::saga::ValueT>& value) { return value ? Value{value->type, value->bytes, value->text} : Value(); }

std::unique_ptr<::suoke::saga::ValueT> to_wire(const Value& value) {
  if (value.type.empty() && value.bytes.empty() && value.text.empty()) return nullptr;
  auto wire = std::make_unique<::suoke::saga::ValueT>();
  wire->type = value.type;
  wire->bytes = value.bytes;
  wire->text = value.text;
  return wire;
}

}  // namespace bus::saga
