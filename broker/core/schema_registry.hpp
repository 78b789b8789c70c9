// SchemaRegistry keeps the event types that are registered while the broker runs: every version of their schemas, how these may
// change, and whether a type is deprecated. Owned by the core; docs/SCHEMAS.md says what it is for, docs/STORAGE.md how its rows look.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/event_schema.hpp"
#include "broker/core/payload_types.hpp"
#include "broker/core/schema_compatibility.hpp"
#include "broker/store/batch.hpp"

namespace bus::broker {

struct SchemaVersion {
  std::uint32_t number = 0;              // from 1; some may be missing where a log was salvaged
  WallTime added_at;
  std::shared_ptr<const EventSchema> schema;
};

struct RegisteredType {
  Compatibility compatibility = Compatibility::backward_transitive;
  std::string deprecated;                // why; empty: it is not
  WallTime deprecated_at;
  std::vector<SchemaVersion> versions;   // by number, one or more

  // 0: the last one. Null: there is none of this number.
  const SchemaVersion* version(std::uint32_t number) const;
};

// What a schema means for one of its event types.
struct SchemaOutcome {
  std::string type;
  std::uint32_t before = 0, version = 0; // the last version, and the next one; the same: nothing of the type changes
  Compatibility compatibility = Compatibility::none;
  std::vector<SchemaChange> changes;     // since `before`, and which earlier versions break in the same mode
  std::vector<Breach> breaches;          // Breach.version is the number of a version
  bool sets_mode = false;
};

class SchemaRegistry {
 public:
  // Registered types are put into `types`, which holds all others already.
  explicit SchemaRegistry(PayloadTypes& types) : types_(types) {}

  // Recovery, in the order of keys. A type that a newer busd has built in stays as it was registered. Errors: damaged; conflict: the
  // type is one of a file, too.
  Result<void> restore_row(std::string_view key, std::string_view value);

  // What would come of it, for each event type of the schema. Errors: bad_format, conflict (a type is built in or of a file),
  // bad_settings (a limit).
  Result<std::vector<SchemaOutcome>> judge(const EventSchema& schema, std::optional<Compatibility> wanted) const;
  // Registers it as judged, when nothing breaks. The rows are for the next commit.
  std::vector<store::Row> add(std::shared_ptr<const EventSchema> schema, const std::vector<SchemaOutcome>& outcomes, WallTime now);
  // The type is registered.
  store::Row edit(const std::string& type, std::optional<Compatibility> mode, const std::optional<std::string>& deprecated, WallTime now);

  const RegisteredType* find(std::string_view type) const;
  std::size_t size() const { return registered_.size(); }

 private:
  Result<SchemaOutcome> judge(const EventSchema& schema, const std::string& type, std::optional<Compatibility> wanted, std::size_t& left) const;
  Result<void> check_limits(const EventSchema& schema, const std::vector<SchemaOutcome>& outcomes) const;
  Result<std::shared_ptr<const EventSchema>> open(Bytes bfbs, const std::string& name);
  std::shared_ptr<const EventSchema> shared(std::shared_ptr<const EventSchema> schema);
  store::Row type_row(const std::string& type, const RegisteredType& registered) const;

  PayloadTypes& types_;
  std::map<std::string, RegisteredType, std::less<>> registered_;
  std::map<Hash128, std::shared_ptr<const EventSchema>> schemas_;  // all of them, each once
  std::size_t bytes_ = 0;                                          // of those
};

}  // namespace bus::broker
