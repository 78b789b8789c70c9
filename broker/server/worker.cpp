#include "broker/server/worker.hpp"

#include "base/check.hpp"

namespace bus::broker {

namespace {

constexpr auto full_disk_pause = std::chrono::seconds(1);
constexpr int full_disk_attempts = 30;
constexpr auto idle_pause = std::chrono::milliseconds(20);

}  // namespace

// ---- Committer

Committer::Committer(store::Store& store, Wake wake) : store_(store), wake_(std::move(wake)), thread_([this] { run(); }) {}

Committer::~Committer() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Committer::submit(store::CommitBatch batch) {
  {
    const std::lock_guard lock(mutex_);
    BUS_CHECK(!batch_ && !outcome_);
    batch_ = std::move(batch);
  }
  changed_.notify_one();
}

std::optional<Result<void>> Committer::collect() {
  const std::lock_guard lock(mutex_);
  return std::exchange(outcome_, std::nullopt);
}

void Committer::hurry() {
  {
    const std::lock_guard lock(mutex_);
    hurry_ = true;
  }
  changed_.notify_one();
}

// A commit that finds no space has written nothing, so it may be tried again; any other failure is final.
Result<void> Committer::commit(const store::CommitBatch& batch) {
  auto outcome = store_.commit(batch);
  for (int attempt = 1; !outcome && outcome.error().code == Code::log_full && attempt < full_disk_attempts; ++attempt) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, full_disk_pause, [this] { return hurry_ || stop_; })) break;
    lock.unlock();
    outcome = store_.commit(batch);
  }
  return outcome;
}

void Committer::run() {
  bool space_to_fill = true, is_idle = true;
  std::unique_lock lock(mutex_);
  while (!stop_ || batch_) {
    // Filling is for quiet times: between two commits it would only be in the way.
    if (!batch_ && !is_idle) {
      is_idle = changed_.wait_for(lock, idle_pause) == std::cv_status::timeout;
      continue;
    }
    if (!batch_ && !space_to_fill) {
      // On a full disk somebody may make room without telling us.
      if (store_.space().full) {
        space_to_fill = changed_.wait_for(lock, full_disk_pause) == std::cv_status::timeout;
      } else {
        changed_.wait(lock);
      }
      continue;
    }
    auto batch = std::exchange(batch_, std::nullopt);
    lock.unlock();
    // One slice at a time: a batch that comes meanwhile waits for one slice at most.
    const bool committing = batch.has_value();
    Result<void> outcome;
    if (committing) {
      outcome = commit(*batch);
      batch.reset();
      space_to_fill = true;
      is_idle = false;
    } else {
      const auto filled = store_.fill_ahead();
      space_to_fill = filled.ok() && *filled;
    }
    lock.lock();
    if (committing) outcome_ = std::move(outcome);
    if (!committing && space_to_fill) continue;
    // Without the lock, which the loop would run into.
    lock.unlock();
    wake_();
    lock.lock();
  }
}

// ---- ReadWorker

ReadWorker::ReadWorker(const store::Store& store, Wake wake)
    : reader_(store.reader()), wake_(std::move(wake)), thread_([this] { run(); }) {}

ReadWorker::~ReadWorker() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void ReadWorker::submit(std::vector<ReadRequest> requests) {
  if (requests.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    for (auto& request : requests) requests_.push_back(std::move(request));
  }
  changed_.notify_one();
}

std::vector<ReadResult> ReadWorker::collect() {
  const std::lock_guard lock(mutex_);
  return std::exchange(results_, {});
}

void ReadWorker::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (requests_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const ReadRequest request = std::move(requests_.front());
    requests_.pop_front();
    lock.unlock();
    ReadResult result = perform(*reader_, request);
    lock.lock();
    results_.push_back(std::move(result));
    lock.unlock();
    wake_();
    lock.lock();
  }
}

}  // namespace bus::broker
