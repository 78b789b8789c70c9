// The two threads beside the loop. Committer applies one batch at a time and prepares file space while idle; ReadWorker
// answers read requests. Both hand results back through a queue and wake the loop; neither touches the core.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "broker/core/io.hpp"

namespace bus::broker {

using Wake = std::function<void()>;

class Committer {
 public:
  Committer(store::Store& store, Wake wake);
  ~Committer();
  // Takes the next batch; the one before must have been collected.
  void submit(store::CommitBatch batch);
  // The outcome of the batch, once it is there. log_full: nothing was written, however often it was tried.
  std::optional<Result<void>> collect();
  // From now on a full disk is not waited for.
  void hurry();

 private:
  void run();
  Result<void> commit(const store::CommitBatch& batch);

  store::Store& store_;
  Wake wake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<store::CommitBatch> batch_;
  std::optional<Result<void>> outcome_;
  bool stop_ = false, hurry_ = false;
  std::thread thread_;
};

class ReadWorker {
 public:
  ReadWorker(const store::Store& store, Wake wake);
  ~ReadWorker();
  void submit(std::vector<ReadRequest> requests);
  std::vector<ReadResult> collect();

 private:
  void run();

  std::unique_ptr<store::LogReader> reader_;
  Wake wake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ReadRequest> requests_;
  std::vector<ReadResult> results_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace bus::broker
