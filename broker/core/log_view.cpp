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

store::RecordPtr LogView::recent(Position position) const {
  auto record = in_tail(position);
  return record != nullptr ? record : in_cold(position);
}

Result<store::RecordPtr> LogView::at(Position position, ReaderId reader) {
  BUS_CHECK(position != Position::none && position <= committed_);
  position = std::max(position, begin_);
  if (auto record = in_tail(position)) return leave(reader), record;
  if (auto record = in_cold(position)) {
    const auto place = places_.find(reader);
    if (place == places_.end()) return leave(reader), record;  // it came for somebody else
    place->second.has_begun = true;
    return record;
  }
  if (const auto damaged = damaged_.find(number(position)); damaged != damaged_.end()) return leave(reader), damaged->second;
  wait(position, reader);
  return store::RecordPtr{};
}

void LogView::wait(Position position, ReaderId reader) {
  if (const auto place = places_.find(reader); place != places_.end()) {
    if (!place->second.has_begun) return request(position);  // it is on its way, or the reader wants another one now
    places_.erase(place);
  }
  const auto [it, is_new] = waiting_.try_emplace(reader);
  it->second.position = position;
  if (is_new) line_.emplace(it->second.ticket = ++last_ticket_, reader);
  serve();
}

void LogView::leave(ReaderId reader) {
  if (const auto it = waiting_.find(reader); it != waiting_.end()) {
    line_.erase(it->second.ticket);
    waiting_.erase(it);
  }
  if (places_.erase(reader) > 0) serve();
}

// Whoever has waited longest has the next place. What is wanted may have come for another: then it is asked for by nobody.
void LogView::serve() {
  while (!line_.empty() && places_.size() < limits::reads_in_flight_max && asked_.size() < limits::reads_in_flight_max) {
    const ReaderId reader = line_.begin()->second;
    const Position position = waiting_.at(reader).position;
    line_.erase(line_.begin());
    waiting_.erase(reader);
    places_.emplace(reader, Place{});
    if (!in_cold(position)) request(position);
  }
}

void LogView::request(Position position) {
  if (asked_.size() >= limits::reads_in_flight_max || !asked_.try_emplace(number(position), asks_ + 1).second) return;
  ++asks_;
  reads_.ask(ReadRecords{position}, [this, position](Result<ReadAnswer> answer) { arrived(position, std::move(answer)); });
}

void LogView::arrived(Position position, Result<ReadAnswer> answer) {
  const auto ask = asked_.extract(number(position)).mapped();
  if (!answer) {
    if (damaged_.size() > 1024) damaged_.clear();
    damaged_.insert_or_assign(number(position), answer.error());
  } else {
    auto& records = std::get<std::vector<store::RecordPtr>>(*answer);
    // Whoever waits has to get something, or would ask for it for ever.
    if (records.empty()) damaged_.insert_or_assign(number(position), Error{Code::damaged, "position " + std::to_string(number(position)) + " is missing"});
    if (!records.empty() && records.front()->first() > position) begin_ = std::max(begin_, records.front()->first());
    for (auto& record : records) {
      const auto changed = changed_.find(number(record->first()));
      if (record->last() >= begin_) keep(changed == changed_.end() ? std::move(record) : changed->second.record);
    }
  }
  std::erase_if(changed_, [&](const auto& changed) { return asked_.empty() || changed.second.asks < ask; });
  serve();
  arrived_();
}

void LogView::change(store::RecordPtr record) {
  const auto take_place = [&](store::RecordPtr& old, std::size_t& bytes) {
    bytes += record->bytes().size() - old->bytes().size();
    old = record;
  };
  const auto after = std::upper_bound(tail_.begin(), tail_.end(), record->first(), [](Position at, const auto& one) { return at < one->first(); });
  if (after != tail_.begin() && (*std::prev(after))->first() == record->first()) take_place(*std::prev(after), tail_bytes_);
  if (const auto cold = cold_.find(number(record->first())); cold != cold_.end()) take_place(cold->second, cold_bytes_);
  if (asked_.empty()) return;
  const auto first = number(record->first());
  changed_.insert_or_assign(first, Changed{asks_, std::move(record)});
}

void LogView::trim(Position last) {
  begin_ = last + 1;
  for (; !tail_.empty() && tail_.front()->last() <= last; tail_.pop_front()) tail_bytes_ -= tail_.front()->bytes().size();
  while (!cold_.empty() && cold_.begin()->second->last() <= last) {
    cold_bytes_ -= cold_.begin()->second->bytes().size();
    std::erase(cold_order_, cold_.begin()->first);
    cold_.erase(cold_.begin());
  }
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
