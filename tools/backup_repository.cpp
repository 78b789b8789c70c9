#include "tools/backup_repository.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "broker/store/directory.hpp"
#include "tools/cli.hpp"

namespace bus::tools {

namespace fs = std::filesystem;

namespace {

constexpr const char* manifest_name = "manifest.json";
constexpr const char* new_manifest_name = "manifest.new";
constexpr const char* lock_name = "lock";

std::string hex_text(std::uint64_t number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}
std::uint64_t hex_number(const Json& json, const char* name) { return std::stoull(json.at(name).get<std::string>(), nullptr, 16); }

// The text of a manifest is this and nothing else, so that no bit of it may flip unnoticed.
std::string manifest_text(Json json) {
  json.erase("checksum");
  const auto sum = checksum(bytes_of(json.dump()));
  json["checksum"] = hex_text(sum);
  return json.dump(1) + "\n";
}

Json manifest_of(const Backup& backup) {
  return {{"format", store::backup_format}, {"backup", backup.number}, {"log_id", show_log_id(backup.log_id)}, {"history", backup.history},
          {"head", {{"position", number(backup.head.committed)}, {"chain", hex_text(backup.head.chain)}, {"committed_at", nanoseconds(backup.head.committed_at)}, {"batch", backup.head.batch}}},
          {"trimmed_to", number(backup.trimmed_to)}, {"made_at", nanoseconds(backup.made_at)}, {"made_by", backup.version},
          {"records", backup.records}, {"events", backup.events}, {"record_bytes", backup.record_bytes}, {"new_bytes", backup.new_bytes}, {"last_segment", backup.last_segment},
          {"index", {{"bytes", backup.index_bytes}, {"sum", hex_text(backup.index_sum)}}},
          {"tables", {{"bytes", backup.tables_bytes}, {"sum", hex_text(backup.tables_sum)}, {"rows", backup.rows}}}};
}

Backup backup_of(const Json& json) {
  Backup backup;
  backup.number = json.at("backup");
  const std::string id = json.at("log_id");
  for (std::size_t at = 0; at < backup.log_id.size(); ++at) backup.log_id[at] = static_cast<std::uint8_t>(std::stoul(id.substr(2 * at, 2), nullptr, 16));
  backup.history = json.at("history");
  const Json& head = json.at("head");
  backup.head.committed = Position{head.at("position").get<std::uint64_t>()};
  backup.head.chain = hex_number(head, "chain");
  backup.head.committed_at = wall_time(head.at("committed_at"));
  backup.head.batch = head.at("batch");
  backup.trimmed_to = Position{json.at("trimmed_to").get<std::uint64_t>()};
  backup.made_at = wall_time(json.at("made_at"));
  backup.version = json.at("made_by");
  backup.records = json.at("records");
  backup.events = json.at("events");
  backup.record_bytes = json.at("record_bytes");
  backup.new_bytes = json.at("new_bytes");
  backup.last_segment = json.at("last_segment");
  backup.index_bytes = json.at("index").at("bytes");
  backup.index_sum = hex_number(json.at("index"), "sum");
  backup.tables_bytes = json.at("tables").at("bytes");
  backup.tables_sum = hex_number(json.at("tables"), "sum");
  backup.rows = json.at("tables").at("rows");
  return backup;
}

Backup read_manifest(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Error bad{Code::damaged, path.string() + ": the manifest does not match its checksum"};
  try {
    const Json json = Json::parse(text);
    if (json.value("format", 0u) > store::backup_format && text == manifest_text(json)) {
      fail(Code::bad_format, path.string() + ": the backup has format " + std::to_string(json["format"].get<unsigned>()) + "; this bus-cli knows format " + std::to_string(store::backup_format));
    }
    if (text != manifest_text(json)) throw Failed(bad);
    return backup_of(json);
  } catch (const Json::exception&) {
    throw Failed(bad);
  } catch (const std::logic_error&) {  // not a number
    throw Failed(bad);
  }
}

bool is_decimal(const std::string& name) { return !name.empty() && name.size() <= 18 && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }); }

void remove_tree(const fs::path& path) {
  std::error_code failed;
  fs::remove_all(path, failed);
  if (failed) fail(Code::disk_error, "cannot remove " + path.string() + ": " + failed.message());
}

std::vector<fs::path> entries_of(const fs::path& dir) {
  std::vector<fs::path> entries;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(dir, failed)) entries.push_back(entry.path());
  if (failed && failed != std::errc::no_such_file_or_directory) fail(Code::disk_error, "cannot read " + dir.string() + ": " + failed.message());
  return entries;
}

bool is_one_of(const fs::path& path, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return path.filename() == name; });
}
bool is_backup(const fs::path& path) {
  if (!is_decimal(path.filename().string()) || !fs::is_directory(path)) return false;
  const auto files = entries_of(path);
  return std::all_of(files.begin(), files.end(), [](const fs::path& file) { return is_one_of(file, {"index", "tables", manifest_name, new_manifest_name}); });
}
bool is_segment(const fs::path& path) { return path.extension() == ".seg" && is_decimal(path.stem().string()); }

// What no backup has made is somebody else's, and must not be taken for what one has left.
void check_names(const fs::path& repository) {
  const auto refuse = [&](const fs::path& entry, const std::string& why) {
    fail(Code::bad_format, repository.string() + " is not a repository of backups: it has " + why + " (" + entry.lexically_relative(repository).string() + "); name an empty directory");
  };
  for (const auto& entry : entries_of(repository)) {
    if (!is_one_of(entry, {lock_name, "segments", "backups", "lost+found"})) refuse(entry, "other files");
  }
  const bool has_lock = fs::exists(repository / lock_name);
  for (const auto& [part, is_its] : {std::pair("backups", &is_backup), std::pair("segments", &is_segment)}) {
    for (const auto& entry : entries_of(repository / part)) {
      if (!is_its(entry)) refuse(entry, "other files");
      if (!has_lock) refuse(entry, "no file " + std::string(lock_name) + " beside its files");
    }
  }
}

BackupList read_backups(const fs::path& repository) {
  BackupList list;
  for (const auto& entry : entries_of(repository / "backups")) {
    const auto name = entry.filename().string();
    const auto manifest = entry / manifest_name;
    if (!is_decimal(name) || !fs::exists(manifest)) continue;
    const auto number = std::stoull(name);
    try {
      auto backup = read_manifest(manifest);
      if (backup.number != number) fail(Code::damaged, manifest.string() + ": it is of backup " + std::to_string(backup.number));
      list.backups.push_back(std::move(backup));
    } catch (const Failed& failed) {
      list.unreadable.push_back({number, failed.error()});
    }
  }
  std::sort(list.backups.begin(), list.backups.end(), [](const Backup& a, const Backup& b) { return a.number < b.number; });
  std::sort(list.unreadable.begin(), list.unreadable.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return list;
}

}  // namespace

std::string show_log_id(const store::LogId& log_id) { return hexadecimal(log_id); }

BackupList list_backups(const fs::path& repository) {
  std::error_code ignored;
  if (!fs::is_directory(repository / "backups", ignored)) fail(Code::not_found, "there are no backups in " + repository.string());
  return read_backups(repository);
}

const Backup& find_backup(const BackupList& list, std::uint64_t number) {
  const auto& backups = list.backups;
  for (const auto& backup : backups) {
    if (backup.number == number) return backup;
  }
  for (const auto& one : list.unreadable) {
    if (one.number == number) throw Failed(one.error);
  }
  fail(Code::not_found, "there is no backup " + std::to_string(number) + (backups.empty() ? "" : "; the last one is " + std::to_string(backups.back().number)));
}

RepositoryWriter::RepositoryWriter(fs::path path, const store::LogId& log_id) : path_(std::move(path)) {
  check_names(path_);
  store::make_directory(path_).value();
  lock_ = store::File::open(path_ / lock_name, O_RDWR | O_CREAT).value();
  if (::flock(lock_.descriptor(), LOCK_EX | LOCK_NB) != 0) fail(Code::locked, "another backup to " + path_.string() + " is under way");
  for (const auto* part : {"segments", "backups"}) store::make_directory(path_ / part).value();
  auto list = read_backups(path_);
  if (!list.unreadable.empty()) refuse(list.unreadable.front());
  backups_ = std::move(list.backups);
  if (!backups_.empty() && backups_.back().log_id != log_id) {
    fail(Code::bad_format, path_.string() + " has backups of log " + show_log_id(backups_.back().log_id) + ", and the broker serves log " + show_log_id(log_id) + ": name another directory");
  }
  remove_left_overs();
}

// What is new cannot be told without it, and its number and segments must not be used again.
void RepositoryWriter::refuse(const UnreadableBackup& bad) const {
  const auto what = bad.error.code == Code::damaged ? "; if there is no copy of it, move " + store::backup_path(path_, bad.number).string() + " away: the other backups do without it" : "";
  fail(bad.error.code, bad.error.detail + what);
}

// Segments are numbered on, so those behind the last backup's belong to one that has no manifest.
void RepositoryWriter::remove_left_overs() const {
  for (const auto& entry : fs::directory_iterator(path_ / "backups")) {
    if (!fs::exists(entry.path() / manifest_name)) remove_tree(entry.path());
  }
  for (const auto& entry : fs::directory_iterator(path_ / "segments")) {
    const auto name = entry.path().stem().string();
    if (is_decimal(name) && std::stoull(name) > last_segment()) remove_tree(entry.path());
  }
}

fs::path RepositoryWriter::begin() const {
  auto path = store::backup_path(path_, next_number());
  store::make_directory(path).value();
  return path;
}

void RepositoryWriter::publish(const Backup& backup) const {
  const auto path = store::backup_path(path_, backup.number);
  const auto made = path / new_manifest_name;
  auto writer = store::BackupWriter::create(made).value();
  writer.write(manifest_text(manifest_of(backup))).value();
  writer.finish().value();
  store::sync_path(path_ / "segments").value();
  std::error_code failed;
  fs::rename(made, path / manifest_name, failed);
  if (failed) fail(Code::disk_error, "cannot rename " + made.string() + ": " + failed.message());
  store::sync_path(path).value();
  store::sync_path(path_ / "backups").value();
}

}  // namespace bus::tools
