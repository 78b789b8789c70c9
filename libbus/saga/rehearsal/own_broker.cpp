#include "libbus/saga/rehearsal/own_broker.hpp"

#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/limits.hpp"

namespace bus::saga {

namespace {

// In memory, where the machine has a place for that: nothing here has to outlive the process.
std::filesystem::path make_directory() {
  const bool in_memory = access("/dev/shm", W_OK) == 0;
  std::string pattern = (in_memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) / "bus-rehearsal-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::system_error(errno, std::generic_category(), "cannot make " + pattern);
  return pattern;
}

const broker::PayloadTypes& builtin_types() {
  static const broker::PayloadTypes types;
  return types;
}

}  // namespace

OwnBroker::OwnBroker(Now now, std::function<bool()> at_write) : at_write_(std::move(at_write)), directory_(make_directory()) { start(now); }

OwnBroker::~OwnBroker() {
  core_.reset();
  reader_.reset();
  store_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void OwnBroker::start(Now now) {
  store::Options options;
  options.dir = directory_ / "data";
  options.map_bytes = limits::map_bytes_min;
  options.fill_ahead_bytes = 1 * limits::MiB;
  options.reserve_bytes = 1 * limits::MiB;
  store_ = store::Store::open(options).value();
  reader_ = store_->reader();
  const broker::CoreOptions core_options{{"rehearsal", directory_, {}}, deaths_ + 1, options.reserve_bytes, true};
  core_ = std::make_unique<broker::Core>(core_options, builtin_types(), store_->identity());
  core_->set_space(store_->space());
  core_->recover(*store_, now).value();
}

void OwnBroker::die(Now now) {
  core_.reset();
  reader_.reset();
  store_.reset();
  ++deaths_;
  start(now);
}

bool OwnBroker::turn(Now now) {
  due_ = core_->tick(now);
  const bool has_read = read();
  return write(now) || has_read || due_ <= now.steady;
}

bool OwnBroker::read() {
  const auto asked = core_->take_reads();
  for (const auto& request : asked) core_->read_done(broker::perform(*reader_, request));
  return !asked.empty();
}

bool OwnBroker::write(Now now) {
  const auto batch = core_->take_batch(now);
  if (!batch) return false;
  if (at_write_()) return die(now), true;
  store_->commit(*batch).value();
  if (at_write_()) return die(now), true;
  core_->committed(now.steady);
  core_->set_space(store_->space());
  return true;
}

}  // namespace bus::saga
