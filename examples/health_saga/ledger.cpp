#include "ledger.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace {

[[noreturn]] void fail(const std::string& file) { throw std::system_error(errno, std::generic_category(), file); }

void sync(const std::string& path) {
  const int opened = open(path.c_str(), O_RDONLY);
  if (opened < 0) fail(path);
  const int failed = fsync(opened);
  close(opened);
  if (failed != 0) fail(path);
}

}  // namespace

Ledger::Ledger(std::string file) : file_(std::move(file)) {
  std::ifstream stream(file_);
  if (!stream && std::filesystem::exists(file_)) fail(file_);
  for (std::string line; std::getline(stream, line);) {
    const auto tab = line.find('\t');
    effects_[line.substr(0, tab)] = line.substr(tab + 1);
    lines_.push_back(std::move(line));
  }
  if (stream.bad()) fail(file_);
}

std::optional<std::string> Ledger::find(std::string_view key) const {
  const std::lock_guard lock(mutex_);
  const auto it = effects_.find(key);
  return it == effects_.end() ? std::nullopt : std::optional(it->second);
}

std::string Ledger::once(std::string_view key, const std::string& effect) {
  const std::lock_guard lock(mutex_);
  const auto it = effects_.find(key);
  if (it != effects_.end()) return it->second;
  auto lines = lines_;
  lines.push_back(std::string(key) + "\t" + effect);
  write(lines);
  lines_ = std::move(lines);
  effects_.emplace(key, effect);
  return effect;
}

// A file beside it takes its place: whoever is killed on the way leaves the old one or the new one.
void Ledger::write(const std::vector<std::string>& lines) const {
  const std::string next = file_ + ".next";
  std::ofstream stream(next, std::ios::trunc);
  for (const auto& line : lines) stream << line << '\n';
  stream.close();
  if (!stream) fail(next);
  sync(next);
  if (std::rename(next.c_str(), file_.c_str()) != 0) fail(file_);
  const auto folder = std::filesystem::path(file_).parent_path();
  sync(folder.empty() ? "." : folder.string());
}
