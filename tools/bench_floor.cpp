// The machine's own speed: raw LMDB. Beside offline verification the only use of the store by a tool.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "broker/store/lmdb.hpp"
#include "tools/bench.hpp"
#include "tools/cli.hpp"

namespace bus::tools {

namespace fs = std::filesystem;
namespace lmdb = store::lmdb;

namespace {

constexpr std::size_t map_bytes = 64ull << 30;  // address space only

fs::path make_directory(const fs::path& dir) {
  auto pattern = (dir / "bus-bench-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    fail(Code::disk_error, "cannot make a directory in " + dir.string() + ": " + std::strerror(errno) + "; name one with --data");
  }
  return pattern;
}

std::string key_of(std::uint64_t number) {
  std::string key(8, '\0');
  for (auto at = key.rbegin(); at != key.rend(); ++at, number >>= 8) *at = static_cast<char>(number & 0xFF);
  return key;
}

std::string noise(std::size_t bytes) {
  std::string text(bytes, '\0');
  std::uint64_t state = 88172645463325252u;
  for (auto& c : text) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    c = static_cast<char>(state);
  }
  return text;
}

}  // namespace

struct BenchFloor::State {
  fs::path dir;
  lmdb::Environment env;
  std::uint64_t next = 1;
};

BenchFloor::BenchFloor(const fs::path& dir) {
  const auto made = make_directory(dir);
  auto env = lmdb::Environment::open(made, map_bytes, lmdb::Access::write);
  if (!env) {
    fs::remove_all(made);
    throw Failed(env.error());
  }
  state_ = std::make_unique<State>(State{made, std::move(*env), 1});
}

BenchFloor::~BenchFloor() {
  const auto dir = state_->dir;
  state_.reset();
  std::error_code ignored;
  fs::remove_all(dir, ignored);
}

double BenchFloor::append(const Written& written) {
  const auto commits = std::max<std::uint64_t>(1, written.commits);
  const auto record = noise(written.record_bytes / std::max<std::uint64_t>(1, written.records));
  const auto begun = steady_now();
  std::uint64_t done = 0;
  for (std::uint64_t commit = 1; commit <= commits; ++commit) {
    auto txn = state_->env.begin(lmdb::Access::write).value();
    const auto table = txn.open_table("log", true).value();
    for (; done < written.records * commit / commits; ++done) txn.put(table, key_of(state_->next++), record, lmdb::Place::end).value();
    txn.commit().value();
  }
  return std::chrono::duration<double>(steady_now() - begun).count();
}

}  // namespace bus::tools
