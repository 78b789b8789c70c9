#include "broker/core/log_view.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace bus::broker {

void Reads::ask(ReadAsk what, Done done) {
  asked_.push_back({next_id_, std::move(what)});
  waiting_.emplace(next_id_++, std::move(done));
}

bool Reads::done(ReadResult result) {
  auto node = waiting_.extract(result.id);
  if (node.empty()) return false;
  node.mapped()(std::move(result.answer));
  return true;
}

std::vector<ReadRequest> Reads::take() { return std::exchange(asked_, {}); }

void LogView::append(store::RecordPtr record) {
  BUS_CHECK(record->first() == committed_ + 1);
  committed_ = record->last();
  tail_bytes_ += record->bytes().size();
  tail_.push_back(std::move(record));
  while (tail_bytes_ > limits::tail_bytes_max && tail_.size() > 1) {
    tail_bytes_ -= tail_.front()->bytes().size();
    tail_.pop_front();
  }
}

store::RecordPtr LogView::in_tail(Position position) const {
  if (tail_.empty() || position < tail_.front()->first()) return nullptr;
  const auto after = std::upper_bound(tail_.begin(), tail_.end(), position,
                                      [](Position at, const auto& record) { return at < record->first(); });
  return *std::prev(after);
}

store::RecordPtr LogView::in_cold(Position position) const {
  const auto it = cold_.upper_bound(number(position));
  if (it == cold_.begin()) return nullptr;
  const auto& record = std::prev(it)->second;
  return record->holds(position) ? record : nullptr;
}

Result<store::RecordPtr> LogView::at(Position position) {
  BUS_CHECK(position != Position::none && position <= committed_);
  if (auto record = in_tail(position)) return record;
  if (auto record = in_cold(position)) return record;
  if (const auto damaged = damaged_.find(number(position)); damaged != damaged_.end()) return damaged->second;
  request(position);
  return store::RecordPtr{};
}

void LogView::request(Position position) {
  if (asked_.size() >= limits::reads_in_flight_max || !asked_.insert(number(position)).second) return;
  reads_.ask(ReadRecords{position}, [this, position](Result<ReadAnswer> answer) { arrived(position, std::move(answer)); });
}

void LogView::arrived(Position position, Result<ReadAnswer> answer) {
  asked_.erase(number(position));
  if (!answer) {
    if (damaged_.size() > 1024) damaged_.clear();
    damaged_.insert_or_assign(number(position), answer.error());
  } else {
    for (auto& record : std::get<std::vector<store::RecordPtr>>(*answer)) keep(std::move(record));
  }
  arrived_();
}

void LogView::keep(store::RecordPtr record) {
  const auto first = number(record->first());
  const auto bytes = record->bytes().size();
  if (!cold_.try_emplace(first, std::move(record)).second) return;
  cold_order_.push_back(first);
  cold_bytes_ += bytes;
  while (cold_bytes_ > limits::cold_bytes_max && cold_order_.size() > 1) {
    const auto oldest = cold_.find(cold_order_.front());
    cold_bytes_ -= oldest->second->bytes().size();
    cold_.erase(oldest);
    cold_order_.pop_front();
  }
}

}  // namespace bus::broker
