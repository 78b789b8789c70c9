#include "broker/core/group_settings.hpp"

#include <algorithm>

namespace bus::broker {

Result<void> GroupSettings::check() const {
  const auto bad = [](std::string detail) { return Error{Code::bad_settings, std::move(detail)}; };
  if (sharing > Sharing::key_ordered || backoff > Backoff::exponential || dead_letter > DeadLetter::skip) {
    return bad("a strategy of sharing, retry or dead letters is unknown to this broker");
  }
  if (ack_wait < limits::ack_wait_min || ack_wait > limits::ack_wait_max) return bad("ack_wait must be between 100 ms and 24 h");
  if (in_flight_max == 0 || in_flight_max > limits::open_max) {
    return bad("in_flight_max must be between 1 and " + std::to_string(limits::open_max));
  }
  if (member_in_flight_max == 0) return bad("member_in_flight_max must be 1 at least");
  if (attempts_max == 0) return bad("attempts_max must be 1 at least");
  if (attempts_max != unlimited && attempts_max > limits::attempts_max) {
    return bad("attempts_max must be at most " + std::to_string(limits::attempts_max) + ", or unlimited");
  }
  if (retry_delay < Duration::zero() || retry_delay_max > limits::nack_delay_max) {
    return bad("delays of a retry must be between 0 and 7 days");
  }
  if (retry_delay > retry_delay_max) return bad("retry_delay is above retry_delay_max");
  if (jitter_percent > 100) return bad("jitter must be between 0 and 100 percent");
  if (dead_letter == DeadLetter::stop_key && !is_ordered()) {
    return bad("dead_letter stop_key needs sharing key_ordered: no other keeps the events of a key behind one that failed");
  }
  return {};
}

namespace {

// A number that looks random, and is the same for the same input (Steele, Lea, Flood: SplitMix64).
std::uint64_t scattered(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

}  // namespace

Duration GroupSettings::delay_after(std::uint32_t failures, std::uint64_t salt) const {
  Duration delay = retry_delay;
  if (backoff == Backoff::linear) delay = retry_delay > retry_delay_max / std::max(failures, 1u) ? retry_delay_max : retry_delay * failures;
  if (backoff == Backoff::exponential) {
    for (std::uint32_t doubled = 1; doubled < failures && delay > Duration::zero() && delay < retry_delay_max; ++doubled) delay *= 2;
  }
  delay = std::min(delay, retry_delay_max);
  const auto part = static_cast<std::int64_t>(scattered(salt ^ scattered(failures)) % 2001) - 1000;  // thousandths, of the jitter
  return std::min(delay + delay / 100'000 * (part * jitter_percent), retry_delay_max);
}

void GroupSettings::put(Writer& writer) const {
  writer.put(sharing).put(ack_wait.count()).put(in_flight_max).put(member_in_flight_max).put(attempts_max);
  writer.put(backoff).put(retry_delay.count()).put(retry_delay_max.count()).put(jitter_percent).put(dead_letter);
  writer.put(static_cast<std::uint8_t>(paused));
}

GroupSettings GroupSettings::get(Reader& reader) {
  GroupSettings settings;
  settings.sharing = reader.get<Sharing>();
  settings.ack_wait = Duration(reader.get<Duration::rep>());
  settings.in_flight_max = reader.get<std::uint32_t>();
  settings.member_in_flight_max = reader.get<std::uint32_t>();
  settings.attempts_max = reader.get<std::uint32_t>();
  settings.backoff = reader.get<Backoff>();
  settings.retry_delay = Duration(reader.get<Duration::rep>());
  settings.retry_delay_max = Duration(reader.get<Duration::rep>());
  settings.jitter_percent = reader.get<std::uint32_t>();
  settings.dead_letter = reader.get<DeadLetter>();
  settings.paused = reader.get<std::uint8_t>() != 0;
  return settings;
}

}  // namespace bus::broker
