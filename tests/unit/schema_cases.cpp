#include "schema_cases.hpp"

namespace bus::test {

namespace {

using broker::Harm;
using broker::Harms;
using broker::Rule;

constexpr Harms nothing{};
constexpr Harms data{Harm::data, Harm::data};
constexpr Harms names{Harm::names, Harm::names};
constexpr Harms later{Harm::later, Harm::later};
constexpr Harms backward{Harm::data, Harm::none};
constexpr Harms forward{Harm::none, Harm::data};

const std::string root = " root_type T;";

std::string table(const std::string& fields) { return "table T { " + fields + " }" + root; }
std::string with(const std::string& types, const std::string& fields) { return types + " table T { " + fields + " }" + root; }

// A field of another type, both ways round.
SchemaCase retyped(const std::string& was, const std::string& is, Harms harms) {
  return {Rule::field_type_changed, harms, table("x:" + was + ";"), table("x:" + is + ";"), "T", "x"};
}

const std::string inner = "table I { i:int; }";

const SchemaCase cases[] = {
  {Rule::root_table_changed, data, table("x:int;"), "table V { x:int; } root_type V;", "T", ""},
  {Rule::root_table_changed, data, "table V { x:int; } root_type V;", table("x:int;"), "T", ""},
  {Rule::root_table_changed, data, table("x:int;"), "struct T { x:int; } table V { x:T; } root_type V;", "T", ""},
  {Rule::file_identifier_changed, data, table("x:int;") + "file_identifier \"AAAA\";", table("x:int;") + "file_identifier \"BBBB\";", "T", ""},
  {Rule::file_identifier_changed, backward, table("x:int;"), table("x:int;") + "file_identifier \"BBBB\";", "T", ""},
  {Rule::file_identifier_changed, forward, table("x:int;") + "file_identifier \"AAAA\";", table("x:int;"), "T", ""},
  {Rule::type_renamed, nothing, with(inner, "x:I;"), with("table J { i:int; }", "x:J;"), "I", ""},
  {Rule::type_renamed, nothing, with(inner, "x:[I];"), with("namespace a; table I { i:int; } namespace;", "x:[a.I];"), "I", ""},
  {Rule::type_renamed, nothing, with("enum E:ubyte { a, b }", "x:E;"), with("enum F:ubyte { a, b }", "x:F;"), "E", ""},

  {Rule::field_added, nothing, table("x:int;"), table("x:int; y:string;"), "T", "y"},
  {Rule::field_removed, later, table("x:int; y:string;"), table("x:int;"), "T", "y"},
  {Rule::field_renamed, names, table("x:int;"), table("y:int;"), "T", "x"},
  {Rule::field_renamed, names, with("struct S { a:int; }", "x:S;"), with("struct S { b:int; }", "x:S;"), "S", "a"},
  {Rule::id_changed, data, table("x:int (id: 0); y:ushort (id: 1);"), table("x:int (id: 1); z:ubyte (id: 0); y:ushort (id: 2);"), "T", "x"},
  {Rule::slot_reused, data, table("x:int (id: 0); y:int (id: 1);"), table("z:int (id: 0); x:int (id: 1); y:int (id: 2);"), "T", "z"},
  {Rule::default_changed, data, table("x:int = 1;"), table("x:int = 2;"), "T", "x"},
  {Rule::default_changed, data, table("x:double = 1.5;"), table("x:double = 1.25;"), "T", "x"},
  {Rule::default_changed, data, table("x:bool;"), table("x:bool = true;"), "T", "x"},
  {Rule::default_changed, data, table("x:string;"), table("x:string = \"a\";"), "T", "x"},
  {Rule::optional_changed, data, table("x:int;"), table("x:int = null;"), "T", "x"},
  {Rule::optional_changed, data, table("x:int = null;"), table("x:int;"), "T", "x"},
  {Rule::required_added, backward, table("x:string;"), table("x:string (required);"), "T", "x"},
  {Rule::required_removed, forward, table("x:string (required);"), table("x:string;"), "T", "x"},
  {Rule::required_removed, forward, with(inner, "x:I (required);"), with(inner, "x:I;"), "T", "x"},
  {Rule::deprecated_field, nothing, table("x:int;"), table("x:int (deprecated);"), "T", "x"},
  {Rule::deprecated_field, forward, table("x:string (required);"), table("x:string (required, deprecated);"), "T", "x"},
  {Rule::deprecation_removed, backward, table("x:string (required, deprecated);"), table("x:string (required);"), "T", "x"},
  {Rule::deprecation_removed, nothing, table("x:int (deprecated);"), table("x:int;"), "T", "x"},

  retyped("int", "long", data),
  retyped("int", "uint", data),
  retyped("int", "float", data),
  retyped("ushort", "ubyte", data),
  retyped("byte", "ubyte", data),
  retyped("double", "float", data),
  retyped("bool", "ubyte", {Harm::names, Harm::data}),
  retyped("ubyte", "bool", {Harm::data, Harm::names}),
  retyped("string", "[ubyte]", {Harm::names, Harm::data}),
  retyped("[ubyte]", "string", {Harm::data, Harm::names}),
  retyped("[int]", "[uint]", data),
  retyped("[int]", "[string]", data),
  retyped("[bool]", "[ubyte]", {Harm::names, Harm::data}),
  retyped("int", "string", data),
  retyped("int", "[int]", data),
  {Rule::field_type_changed, names, with("enum E:ubyte { a, b }", "x:E;"), table("x:ubyte;"), "T", "x"},
  {Rule::field_type_changed, names, table("x:[ubyte];"), with("enum E:ubyte { a, b }", "x:[E];"), "T", "x"},
  {Rule::field_type_changed, data, with(inner, "x:I;"), with("struct I { i:int; }", "x:I;"), "T", "x"},
  {Rule::field_type_changed, data, with(inner, "x:[I];"), with("struct I { i:int; }", "x:[I];"), "T", "x"},

  {Rule::key_changed, backward, with("table K { a:int; b:int; }", "x:[K];"), with("table K { a:int (key); b:int; }", "x:[K];"), "K", "a"},
  {Rule::key_changed, forward, with("table K { a:int (key); b:int; }", "x:[K];"), with("table K { a:int; b:int; }", "x:[K];"), "K", "a"},
  {Rule::key_changed, data, with("table K { a:int (key); b:int; }", "x:[K];"), with("table K { a:int; b:int (key); }", "x:[K];"), "K", "a"},
  {Rule::hash_changed, {Harm::none, Harm::names}, table("x:uint;"), table("x:uint (hash: \"fnv1_32\");"), "T", "x"},
  {Rule::hash_changed, {Harm::names, Harm::none}, table("x:uint (hash: \"fnv1_32\");"), table("x:uint;"), "T", "x"},
  {Rule::hash_changed, names, table("x:uint (hash: \"fnv1_32\");"), table("x:uint (hash: \"fnv1a_32\");"), "T", "x"},
  {Rule::nested_flatbuffer_changed, backward, with(inner, "x:[ubyte];"), with(inner, "x:[ubyte] (nested_flatbuffer: \"I\");"), "T", "x"},
  {Rule::nested_flatbuffer_changed, forward, with(inner, "x:[ubyte] (nested_flatbuffer: \"I\");"), with(inner, "x:[ubyte];"), "T", "x"},
  {Rule::flexbuffer_changed, backward, table("x:[ubyte];"), table("x:[ubyte] (flexbuffer);"), "T", "x"},
  {Rule::flexbuffer_changed, forward, table("x:[ubyte] (flexbuffer);"), table("x:[ubyte];"), "T", "x"},
  {Rule::vector_alignment_changed, backward, table("x:[ubyte];"), table("x:[ubyte] (force_align: 16);"), "T", "x"},
  {Rule::vector_alignment_changed, forward, table("x:[ubyte] (force_align: 16);"), table("x:[ubyte] (force_align: 8);"), "T", "x"},

  {Rule::struct_changed, data, with("struct S { a:int; }", "x:[S];"), with("struct S { a:int; b:int; }", "x:[S];"), "S", ""},
  {Rule::struct_changed, data, with("struct S { a:int; }", "x:S;"), with("struct S { a:uint; }", "x:S;"), "S", ""},
  {Rule::struct_changed, data, with("struct S { a:int; b:int; }", "x:S;"), with("struct S { b:int; a:int; }", "x:S;"), "S", ""},
  {Rule::struct_changed, data, with("struct S { a:[int:4]; }", "x:S;"), with("struct S { a:[long:2]; }", "x:S;"), "S", ""},
  {Rule::struct_changed, data, with("struct S { a:[int:3]; b:int; }", "x:S;"), with("struct S { a:[int:2]; b:int; c:int; }", "x:S;"), "S", ""},
  {Rule::struct_alignment_changed, backward, with("struct S { a:long; b:long; }", "x:S; y:string; z:long;"), with("struct S (force_align: 16) { a:long; b:long; }", "x:S; y:string; z:long;"), "S", ""},
  {Rule::struct_alignment_changed, forward, with("struct S (force_align: 16) { a:long; b:long; }", "x:S; y:string; z:long;"), with("struct S { a:long; b:long; }", "x:S; y:string; z:long;"), "S", ""},

  {Rule::enum_type_changed, data, with("enum E:ubyte { a, b }", "x:[E];"), with("enum E:ushort { a, b }", "x:[E];"), "E", ""},
  {Rule::enum_type_changed, data, with("enum E:byte { a = -1, b = 0 }", "x:[E];"), with("enum E:short { a = -1, b = 0 }", "x:[E];"), "E", ""},
  {Rule::enum_value_added, {Harm::none, Harm::names}, with("enum E:ubyte { a, b }", "x:E;"), with("enum E:ubyte { a, b, c }", "x:E;"), "E", "c"},
  {Rule::enum_value_removed, {Harm::names, Harm::none}, with("enum E:ubyte { a, b, c }", "x:E;"), with("enum E:ubyte { a, b }", "x:E;"), "E", "c"},
  {Rule::enum_value_renamed, names, with("enum E:ubyte { a, b }", "x:E;"), with("enum E:ubyte { a, c }", "x:E;"), "E", "b"},
  {Rule::enum_value_renumbered, data, with("enum E:ubyte { a = 0, b = 1 }", "x:E;"), with("enum E:ubyte { a = 0, b = 2 }", "x:E;"), "E", "b"},
  {Rule::bit_flags_changed, names, with("enum E:ubyte { a = 1, b = 2 }", "x:E = a;"), with("enum E:ubyte (bit_flags) { a, b }", "x:E = a;"), "E", ""},

  {Rule::union_member_added, forward, with("table A { i:int; } table B { j:int; } union U { A }", "x:U;"), with("table A { i:int; } table B { j:int; } union U { A, B }", "x:U;"), "U", "B"},
  {Rule::union_member_removed, backward, with("table A { i:int; } table B { j:int; } union U { A, B }", "x:U;"), with("table A { i:int; } table B { j:int; } union U { A }", "x:U;"), "U", "B"},
  {Rule::union_member_renamed, names, with("table A { i:int; } union U { A }", "x:U;"), with("table A { i:int; } union U { Z: A }", "x:U;"), "U", "A"},
  {Rule::union_member_renumbered, data, with("table A { i:int; } table B { j:string; } union U { A, B }", "x:U;"), with("table A { i:int; } table B { j:string; } union U { B, A }", "x:U;"), "U", "A"},
  {Rule::union_member_type_changed, data, with("table A { i:int; } union U { M: A }", "x:U;"), with("union U { M: string }", "x:U;"), "U", "M"},
};

}  // namespace

std::span<const SchemaCase> schema_cases() { return cases; }

}  // namespace bus::test
