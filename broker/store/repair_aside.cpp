#include "broker/store/repair_aside.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "broker/store/directory.hpp"
#include "broker/store/file.hpp"

namespace bus::store {

namespace fs = std::filesystem;

namespace {

Result<void> write_all(const File& file, const fs::path& path, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(file.descriptor(), bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return file_error("write", path);
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return file.sync();
}

std::string in_quotes(std::string_view text) {
  std::string json = "\"";
  for (const char byte : text) {
    if (byte == '"' || byte == '\\') json += '\\';
    if (static_cast<unsigned char>(byte) < 0x20) {
      json += "\\u00" + hexadecimal(bytes_of(std::string_view(&byte, 1)));
    } else {
      json += byte;
    }
  }
  return json + '"';
}

template <typename List, typename Show>
std::string joined(const List& list, const char* between, Show show) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : between) + show(one);
  return text;
}

std::string range_text(Position first, Position last) {
  const std::string begin = std::to_string(number(first));
  return first == last ? "position " + begin : "positions " + begin + " to " + std::to_string(number(last));
}

}  // namespace

std::string line_of(const Damage& damage) {
  std::string text = range_text(damage.first, damage.last) + ": " + damage.what + "; " + std::to_string(damage.kept) + " events are kept";
  if (!damage.lost.empty()) text += ", lost: " + joined(damage.lost, ", ", [](const LostRange& range) { return range_text(range.first, range.last); });
  if (!damage.topics.empty()) text += ", of " + joined(damage.topics, ", ", [](const std::string& topic) { return topic; });
  if (!damage.file.empty()) text += "; its bytes are in " + damage.file;
  return text;
}

std::string json_of(const Damage& damage) {
  const auto range = [](const LostRange& lost) { return "{\"first\":" + std::to_string(number(lost.first)) + ",\"last\":" + std::to_string(number(lost.last)) + "}"; };
  return "{\"first\":" + std::to_string(number(damage.first)) + ",\"last\":" + std::to_string(number(damage.last)) + ",\"kept\":" + std::to_string(damage.kept) +
         ",\"lost\":[" + joined(damage.lost, ",", range) + "],\"topics\":[" + joined(damage.topics, ",", in_quotes) + "],\"what\":" + in_quotes(damage.what) +
         ",\"file\":" + (damage.file.empty() ? "null" : in_quotes(damage.file)) + "}";
}

Result<std::string> Aside::keep(Position first, Bytes stored) const {
  if (auto made = make_directory(dir_); !made) return made.error();
  const std::string name = "record-" + std::to_string(number(first));
  for (int copy = 1;; ++copy) {
    const std::string file_name = name + (copy == 1 ? "" : "-" + std::to_string(copy)) + ".bin";
    const fs::path path = dir_ / file_name;
    std::error_code ignored;
    if (fs::exists(path, ignored)) continue;
    const auto file = File::open(path, O_WRONLY | O_CREAT | O_EXCL);
    if (!file) return file.error();
    if (auto written = write_all(*file, path, text_of(stored)); !written) return written.error();
    if (auto synced = sync_path(dir_); !synced) return synced.error();
    return file_name;
  }
}

Result<void> Aside::report(const Damage& damage) const {
  if (auto made = make_directory(dir_); !made) return made;
  for (const auto& [name, line] : {std::pair("report.txt", line_of(damage)), std::pair("report.ndjson", json_of(damage))}) {
    const auto file = File::open(dir_ / name, O_WRONLY | O_CREAT | O_APPEND);
    if (!file) return file.error();
    if (auto written = write_all(*file, dir_ / name, line + "\n"); !written) return written;
  }
  return sync_path(dir_);
}

}  // namespace bus::store
