// Recorder keeps what the program does to the files below one directory, between its making and its end.
//
// The executable that links it defines pwrite, fdatasync and their like itself, so that LMDB's calls come here as ours
// do: the recorded ones are those that really happen, and each is carried out. One recorder at a time, one thread.
//
// BUS_CANARY_LYING_SYNC makes every sync report success and do nothing: a disk that lies. The test must notice.
#pragma once

#include <filesystem>
#include <vector>

#include "tests/power/operation.hpp"

namespace bus::power {

class Recorder {
 public:
  explicit Recorder(const std::filesystem::path& root);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void mark(std::uint64_t batch, std::uint64_t epoch);
  Inode root() const { return root_; }
  const std::vector<Operation>& operations() const { return operations_; }
  void add(Operation operation) { operations_.push_back(std::move(operation)); }
  bool covers(const std::string& path) const;

 private:
  std::string path_;
  Inode root_;
  std::vector<Operation> operations_;
};

}  // namespace bus::power
