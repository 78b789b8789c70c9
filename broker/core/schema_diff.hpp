// SchemaDiff is one comparison of two versions of a schema, from a root table on. A value that lives within diff_schemas().
//
// Pairs of types wait in a list, each pair once: tables that contain each other end, and no schema is deep enough for the
// stack. Two versions have up to n × m pairs when their types lead to each other in circles; the work is counted and bounded.
#pragma once

#include <deque>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/schema_types.hpp"
#include "broker/core/sorted_index.hpp"

namespace bus::broker {

class SchemaDiff {
 public:
  // At most so many fields and values are compared; `all`: also what harms nobody is told.
  SchemaDiff(const reflection::Schema& before, const reflection::Schema& after, std::size_t most, bool all) : before_(before), after_(after), most_(most), all_(all) {}

  Result<std::vector<SchemaChange>> from(std::string_view root);
  // How many were.
  std::size_t work() const { return work_; }

 private:
  template <typename T>
  struct Pair {
    const T* before;
    const T* after;
    auto operator<=>(const Pair&) const = default;
  };
  using Objects = Pair<reflection::Object>;
  using Enums = Pair<reflection::Enum>;
  using Fields = Pair<reflection::Field>;

  // The fields of one table or struct; the slot of a struct's field is its place in bytes. Those that flatc adds to unions
  // have no name here.
  struct Table {
    explicit Table(const reflection::Object& object);
    const reflection::Field* named(std::string_view name) const { return by_name.find(name); }
    const reflection::Field* at(int slot) const { return by_slot.find(slot); }

    SortedIndex<int, reflection::Field> by_slot;
    SortedIndex<std::string_view, reflection::Field> by_name;
  };

  void add(Rule rule, std::string type, std::string member, Harms harms, std::string what);

  void compare_file_identifiers(std::string_view root);
  // Both enter types that are not compared yet.
  void enter_object(Objects pair);
  void enter_types(const TypeOf& before, const TypeOf& after);
  void work_off();

  // Tables, in schema_diff_tables.cpp.
  void compare_objects(const Objects& pair);
  void compare_tables(const Objects& pair);
  const reflection::Field* counterpart(const reflection::Field& field, const Table& before, const Table& after) const;
  void compare_fields(const std::string& table, const Fields& pair);
  void compare_field_names(const std::string& table, const Fields& pair);
  void compare_field_types(const std::string& table, const Fields& pair);
  void compare_defaults(const std::string& table, const Fields& pair);
  void compare_presence(const std::string& table, const Fields& pair);
  void compare_deprecation(const std::string& table, const Fields& pair);
  void compare_attributes(const std::string& table, const Objects& pair, const Fields& fields);
  void enter_nested(const Objects& pair, const Fields& fields);
  void compare_keys(const Objects& pair);
  void removed(const std::string& table, const reflection::Field& field);
  void added(const std::string& table, const reflection::Field& field, const Table& before);

  // Structs, in schema_diff_structs.cpp.
  void compare_structs(const Objects& pair);
  std::string layout_change(const Objects& pair) const;
  std::string layout_change(const Fields& pair, const Table& after) const;

  // Enums and unions, in schema_diff_enums.cpp.
  void compare_enums(const Enums& pair);
  void compare_numbers(const Enums& pair);
  void compare_values(const Enums& pair);
  void compare_value(const std::string& name, const Pair<reflection::EnumVal>& pair, bool in_union);
  void compare_members(const std::string& name, const Pair<reflection::EnumVal>& pair);

  const reflection::Schema& before_;
  const reflection::Schema& after_;
  std::size_t most_;
  bool all_;
  std::set<Objects> objects_;   // entered
  std::set<Enums> enums_;
  std::deque<Objects> objects_waiting_;
  std::deque<Enums> enums_waiting_;
  std::size_t harmful_ = 0;     // of the changes
  std::size_t work_ = 0;        // fields and values looked at
  std::vector<SchemaChange> changes_;
};

// As sentences name things: 'it'.
std::string in_quotes(std::string_view name);

}  // namespace bus::broker
