// The schemas of a broker as an export carries them, and their way into another broker.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bus/client.hpp"
#include "tools/export_lines.hpp"

namespace bus::tools {

struct ExportedRegistry {
  std::vector<ExportedSchema> schemas;   // in the order in which they were added; first those that never were
  std::vector<ExportedType> types;       // that are registered

  const ExportedType* find(std::string_view type) const;
  // Of each type the schemas that it has had, the last one last.
  std::map<std::string, std::vector<const ExportedSchema*>, std::less<>> versions() const;
};

// Throws Failed.
ExportedRegistry fetch_registry(Client& client);

// SchemaTransfer registers the schemas of an export, in its order. A type whose versions at the broker are the first ones of the
// export, or none, gets the others, and its mode and deprecation; also versions that its mode would refuse today, as their history is
// that of the export. Any other type keeps what the broker says of it, and gets the last version if that may follow. What is built
// in or of a file of the broker stays as it is. Run again, it goes on where it was.
class SchemaTransfer {
 public:
  // Both live longer. Throws Failed.
  SchemaTransfer(Client& client, const ExportedRegistry& from);

  // The next schema of the export: is it to be registered?
  bool is_wanted();
  // Would the one that is_wanted() was asked for be registered? Throws Failed, as add() would.
  void check();
  // Registers the one that is_wanted() was asked for. Throws Failed: incompatible_schema, and what else SchemaAdd says.
  void add();
  // Where a type is not as in the export, as it was changed here, or an import broke off while it changed it.
  void warn_of_differences();

 private:
  enum class Way { stays, follows, last_only };
  struct Plan {
    Way way = Way::stays;
    std::size_t known = 0;               // follows: so many versions are there already
    std::vector<const ExportedSchema*> versions;
  };
  bool all_follow(const ExportedSchema& schema) const;
  void settle(const wire::SchemaOutcomeT& outcome, const ExportedSchema& schema);

  Client& client_;
  const ExportedRegistry& from_;
  ExportedRegistry there_;               // as it was at first
  std::map<std::string, Plan, std::less<>> plans_;
  std::size_t next_ = 0;
};

}  // namespace bus::tools
