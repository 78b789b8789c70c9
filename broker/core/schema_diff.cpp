#include "broker/core/schema_diff.hpp"

#include <algorithm>

#include "base/limits.hpp"

namespace bus::broker {

namespace {

const reflection::Object* table_named(const reflection::Schema& schema, std::string_view name) {
  for (const auto* object : *schema.objects()) {
    if (object->name()->string_view() == name && !object->is_struct()) return object;
  }
  return nullptr;
}

// Generated code checks the identifier of a file's root type, and of no other table.
std::string file_identifier(const reflection::Schema& schema, std::string_view root) {
  const bool has = schema.file_ident() != nullptr && schema.root_table() != nullptr && schema.root_table()->name()->string_view() == root;
  return has ? schema.file_ident()->str() : "";
}

Result<std::vector<SchemaChange>> changes_of(SchemaDiff diff, std::string_view root, std::size_t& left) {
  auto changes = diff.from(root);
  left -= std::min(left, diff.work());
  return changes;
}

}  // namespace

std::string in_quotes(std::string_view name) { return "'" + std::string(name) + "'"; }

Result<std::vector<SchemaChange>> diff_schemas(const reflection::Schema& before, const reflection::Schema& after, std::string_view root) {
  std::size_t left = limits::schema_comparisons_max;
  return diff_schemas(before, after, root, left);
}

Result<std::vector<SchemaChange>> diff_schemas(const reflection::Schema& before, const reflection::Schema& after, std::string_view root, std::size_t& left) {
  return changes_of(SchemaDiff(before, after, left, true), root, left);
}

Result<std::vector<SchemaChange>> harmful_changes(const reflection::Schema& before, const reflection::Schema& after, std::string_view root, std::size_t& left) {
  return changes_of(SchemaDiff(before, after, left, false), root, left);
}

Result<std::vector<SchemaChange>> SchemaDiff::from(std::string_view root) {
  const auto* was = table_named(before_, root);
  const auto* is = table_named(after_, root);
  if (was == nullptr || is == nullptr) {
    const std::string which = was == nullptr ? "old" : "new";
    add(Rule::root_table_changed, std::string(root), "", {Harm::data, Harm::data}, "the " + which + " schema has no table " + in_quotes(root));
    return std::move(changes_);
  }
  compare_file_identifiers(root);
  enter_object({was, is});
  work_off();
  if (harmful_ > limits::schema_compared_changes_max) {
    return Error{Code::bad_format, "two schemas of " + std::string(root) + " differ in more than " + std::to_string(limits::schema_compared_changes_max) + " ways that harm; make it a new type"};
  }
  if (work_ > most_) {
    return Error{Code::bad_format, "to compare the schemas of " + std::string(root) + " takes more than the " + std::to_string(limits::schema_comparisons_max) +
                                       " fields and values that one request may compare; split the schema, let fewer of its tables contain each other, or choose a compatibility that is not transitive, which looks at the last version only"};
  }
  return std::move(changes_);
}

void SchemaDiff::add(Rule rule, std::string type, std::string member, Harms harms, std::string what) {
  const bool is_harmful = harms != Harms{};
  if (is_harmful) ++harmful_;
  if (!is_harmful && !all_) return;
  const std::string remedy(is_harmful ? remedy_of(rule) : "");
  changes_.push_back({rule, std::move(type), std::move(member), harms, std::move(what), remedy});
}

void SchemaDiff::compare_file_identifiers(std::string_view root) {
  const auto was = file_identifier(before_, root), is = file_identifier(after_, root);
  if (was == is) return;
  // Who knows of no identifier does not look for one.
  const Harms harms{is.empty() ? Harm::none : Harm::data, was.empty() ? Harm::none : Harm::data};
  const auto shown = [](const std::string& identifier) { return identifier.empty() ? "none" : in_quotes(identifier); };
  add(Rule::file_identifier_changed, std::string(root), "", harms, "the file identifier was " + shown(was) + " and is " + shown(is));
}

void SchemaDiff::enter_object(Objects pair) {
  if (objects_.insert(pair).second) objects_waiting_.push_back(pair);
}

void SchemaDiff::enter_types(const TypeOf& before, const TypeOf& after) {
  const Objects objects{before.object(), after.object()};
  if (objects.before != nullptr && objects.after != nullptr) enter_object(objects);
  const Enums enums{before.enumeration(), after.enumeration()};
  if (enums.before != nullptr && enums.after != nullptr && enums_.insert(enums).second) enums_waiting_.push_back(enums);
}

void SchemaDiff::work_off() {
  while (work_ <= most_ && harmful_ <= limits::schema_compared_changes_max) {
    if (!enums_waiting_.empty()) {
      const Enums pair = enums_waiting_.front();
      enums_waiting_.pop_front();
      compare_enums(pair);
    } else if (!objects_waiting_.empty()) {
      const Objects pair = objects_waiting_.front();
      objects_waiting_.pop_front();
      compare_objects(pair);
    } else {
      return;
    }
  }
}

}  // namespace bus::broker
