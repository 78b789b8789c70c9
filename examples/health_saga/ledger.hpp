// Ledger is what one service has done, by idempotency key, in a file of its own: a line for each effect. The effect and its key are written together,
// so there is never one without the other. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

class Ledger {
 public:
  // Goes on with the file, if it is there. Throws std::system_error, here and below, if it cannot be read or written.
  explicit Ledger(std::string file);
  // What was done under that key; nothing: it was not.
  std::optional<std::string> find(std::string_view key) const;
  // Does it, unless it was done before. Returns what was done; it is on disk by then.
  std::string once(std::string_view key, const std::string& effect);

 private:
  void write(const std::vector<std::string>& lines) const;

  const std::string file_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;       // "KEY<tab>EFFECT"
  std::map<std::string, std::string, std::less<>> effects_;
};
