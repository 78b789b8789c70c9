#include "bench/latencies.hpp"

#include <boost/histogram.hpp>

#include <algorithm>
#include <cmath>

namespace bus::bench {

namespace {

namespace histogram = boost::histogram;
using Axis = histogram::axis::regular<double, histogram::axis::transform::log, histogram::axis::null_type>;

constexpr double shortest_ns = 100;
constexpr double longest_ns = 100e9;
// The middle of a bin is within the square root of its width: exp(ln(longest / shortest) / bins / 2) = 1.0019.
constexpr unsigned bin_count = 5500;

}  // namespace

struct Latencies::Bins {
  histogram::histogram<std::tuple<Axis>, histogram::dense_storage<std::uint64_t>> counts{Axis(bin_count, shortest_ns, longest_ns)};
};

Latencies::Latencies() : bins_(std::make_unique<Bins>()) {}
Latencies::~Latencies() = default;
Latencies::Latencies(Latencies&&) noexcept = default;
Latencies& Latencies::operator=(Latencies&&) noexcept = default;

void Latencies::add(std::chrono::nanoseconds latency) {
  latency = std::max(latency, std::chrono::nanoseconds(0));  // the logarithm of less is no number
  bins_->counts(static_cast<double>(latency.count()));
  ++count_;
  shortest_ = std::min(shortest_, latency);
  longest_ = std::max(longest_, latency);
}

void Latencies::merge(const Latencies& other) {
  bins_->counts += other.bins_->counts;
  count_ += other.count_;
  shortest_ = std::min(shortest_, other.shortest_);
  longest_ = std::max(longest_, other.longest_);
}

std::chrono::nanoseconds Latencies::at(double part) const {
  if (count_ == 0) return std::chrono::nanoseconds(0);
  const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(part * static_cast<double>(count_))));
  const auto& axis = bins_->counts.axis();
  auto passed = bins_->counts.at(-1);  // the underflow
  if (wanted == 1 || wanted <= passed) return shortest_;
  if (wanted >= count_) return longest_;
  for (int bin = 0; bin < axis.size(); ++bin) {
    passed += bins_->counts.at(bin);
    if (passed < wanted) continue;
    const std::chrono::nanoseconds middle(std::llround(axis.value(bin + 0.5)));
    return std::clamp(middle, shortest_, longest_);
  }
  return longest_;
}

std::array<Percentile, 6> Latencies::percentiles() const {
  const auto microseconds = [this](double part) { return std::chrono::duration<double, std::micro>(at(part)).count(); };
  return {{{"p50", microseconds(0.5)}, {"p90", microseconds(0.9)}, {"p99", microseconds(0.99)},
           {"p999", microseconds(0.999)}, {"p9999", microseconds(0.9999)}, {"max", microseconds(1)}}};
}

}  // namespace bus::bench
