#include "bench/floors/disk_floors.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <random>
#include <string>
#include <system_error>

#include "broker/store/lmdb.hpp"

namespace bus::bench {

namespace {

namespace fs = std::filesystem;
namespace lmdb = store::lmdb;
using Clock = std::chrono::steady_clock;

constexpr std::size_t map_bytes = std::size_t{256} << 30;  // address space only

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

double seconds_since(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

// A directory of one measurement.
class Directory {
 public:
  explicit Directory(const fs::path& parent) : path_((parent / "floor-XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) fail("cannot make a directory in " + parent.string() + "; name another with --dir");
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  fs::path path() const { return path_; }

 private:
  std::string path_;
};

class File {
 public:
  explicit File(const fs::path& path) : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd_ < 0) fail("cannot open " + path.string());
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::string noise(std::size_t bytes) {
  std::string text(bytes, '\0');
  std::mt19937_64 random;
  std::generate(text.begin(), text.end(), [&] { return static_cast<char>(random()); });
  return text;
}

void write_at(int fd, const std::string& bytes, std::uint64_t at) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written = ::pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail("cannot write");
    done += static_cast<std::size_t>(written);
  }
}

void sync(int fd) {
  if (::fdatasync(fd) != 0) fail("cannot sync");
}

void fill_with_zeros(int fd, std::uint64_t begin, std::uint64_t bytes) {
  const std::string zeros(std::size_t{1} << 20, '\0');
  for (std::uint64_t at = begin; at < begin + bytes; at += zeros.size()) write_at(fd, zeros, at);
  if (::fsync(fd) != 0) fail("cannot sync");
}

// ---- LMDB

std::string key_of(std::uint64_t number) {
  std::string key(8, '\0');
  for (auto at = key.rbegin(); at != key.rend(); ++at, number >>= 8) *at = static_cast<char>(number & 0xFF);
  return key;
}

// What the file takes at most: in a leaf each record has some 18 bytes more, or, if a leaf cannot hold two, pages of its own;
// and the pages of the tree come new with each commit until old ones are free.
std::uint64_t file_bytes(const Records& records) {
  constexpr std::uint64_t page = lmdb::page_bytes;
  const std::uint64_t row = records.bytes + 18;
  const bool in_leaf = row <= page / 2 - 8;
  const std::uint64_t each = in_leaf ? page / ((page - 16) / row) + 1 : (row + page - 1) / page * page + 32;
  return records.count * each / 50 * 51 + (std::uint64_t{16} << 20);
}

// Of a value that takes so much: with the header before it, one in pages of its own fills them.
std::size_t value_bytes(std::size_t taken) {
  if (taken <= lmdb::large_value_bytes) return std::max<std::size_t>(taken, 1);
  return std::max<std::size_t>(taken / lmdb::page_bytes, 1) * lmdb::page_bytes - lmdb::page_header_bytes;
}

class Table {
 public:
  Table(const fs::path& dir, const Records& records, Space space)
      : record_(noise(records.bytes)), env_(lmdb::Environment::open(dir, map_bytes, lmdb::Access::write).value()) {
    if (space == Space::zero_filled) fill_with_zeros(env_.data_file(), env_.used_bytes(), file_bytes(records));
  }

  void append_and_commit(std::uint64_t count) {
    auto txn = env_.begin(lmdb::Access::write).value();
    const auto table = txn.open_table("log", true).value();
    for (const auto end = next_ + count; next_ < end; ++next_) txn.put(table, key_of(next_), record_, lmdb::Place::end).value();
    txn.commit().value();
  }

 private:
  std::string record_;
  lmdb::Environment env_;
  std::uint64_t next_ = 1;
};

template <typename Step>
Timed time_each(std::uint64_t count, Step&& step) {
  Timed timed;
  const auto begun = Clock::now();
  for (std::uint64_t at = 0; at < count; ++at) {
    const auto before = Clock::now();
    step(at);
    timed.latencies.add(Clock::now() - before);
  }
  timed.seconds = seconds_since(begun);
  return timed;
}

}  // namespace

Timed sync_each(const fs::path& dir, std::size_t bytes, std::uint64_t count, Space space) {
  const Directory directory(dir);
  const File file(directory.path() / "data");
  const auto text = noise(bytes);
  if (space == Space::zero_filled) fill_with_zeros(file.fd(), 0, bytes * count);
  return time_each(count, [&](std::uint64_t at) {
    write_at(file.fd(), text, at * bytes);
    sync(file.fd());
  });
}

double append(const fs::path& dir, const Records& records, Space space) {
  const Directory directory(dir);
  Table table(directory.path(), {records.count, value_bytes(records.bytes), records.commits}, space);
  const auto begun = Clock::now();
  std::uint64_t done = 0;
  for (std::uint64_t commit = 1; commit <= records.commits; ++commit) {
    const auto until = records.count * commit / records.commits;
    table.append_and_commit(until - done);
    done = until;
  }
  return seconds_since(begun);
}

Timed commit_each(const fs::path& dir, std::size_t bytes, std::uint64_t count, Space space) {
  const Directory directory(dir);
  Table table(directory.path(), {count, bytes, count}, space);
  return time_each(count, [&](std::uint64_t) { table.append_and_commit(1); });
}

}  // namespace bus::bench
