// Goal: a map file says exactly what becomes of each row, whoever wrote the CSV; a mistake in the map is told by its
// line, a cell that does not fit by its column, and neither is ever passed over.
// Method: maps and rows from memory; the example maps of the project against sample rows and the real schema.
#include "tools/csv_map.hpp"

#include <flatbuffers/idl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "tests/support/file_text.hpp"
#include "tools/csv_reader.hpp"
#include "tools/payload_json.hpp"
#include "tools/time_format.hpp"

namespace bus::tools {
namespace {

const std::string head = "type = \"t.T\"\ntopic = \"a.b\"\n";

std::string map_error(const std::string& toml) {
  const auto map = CsvMap::parse(toml, "m.toml");
  return map ? "accepted" : map.error().detail;
}

// One field `f` of the column A, with further settings.
std::string field_map(const std::string& settings, const std::string& before = "") {
  return head + before + "[[fields]]\npath = \"f\"\ncolumn = \"A\"\n" + settings;
}

// The payload of one row with the columns A and B, or the error.
std::string payload(const std::string& toml, const std::string& a, const std::string& b = "b") {
  auto map = CsvMap::parse(toml, "m.toml");
  if (!map) return map.error().detail;
  if (auto bound = map->bind({"A", "B"}); !bound) return bound.error().detail;
  const auto row = map->row({a, b}, 7);
  return row ? row->payload_json : row.error().detail;
}

TEST(CsvMap, FillsTheEnvelope) {
  auto map = CsvMap::parse(R"(
    type = "t.T"
    topic = "steps.{B}.updated"
    key = "user-{A}"
    id = "{A}-{@line}"
    subject = "{A}"
    source = "csv {{x}}"
    [attributes]
    at = "{@time}"
    [time]
    column = "B"
    formats = ["unix_ms"]
    [[fields]]
    path = "f"
    constant = 1
  )", "m.toml").value();
  map.bind({"A", "B"}).value();
  const auto row = map.row({"5", "1463097599250"}, 7).value();
  EXPECT_EQ(row.type, "t.T");
  EXPECT_EQ(row.topic, "steps.1463097599250.updated");
  EXPECT_EQ(row.key, "user-5");
  EXPECT_EQ(row.id, "5-7");
  EXPECT_EQ(row.subject, "5");
  EXPECT_EQ(row.source, "csv {x}");
  EXPECT_EQ(row.time_ns, 1463097599250000000);
  EXPECT_EQ(row.attributes.at(0), std::pair(std::string("at"), std::string("2016-05-12T23:59:59.25Z")));
  EXPECT_EQ(row.payload_json, R"({"f":1})");
}

TEST(CsvMap, LeavesOutWhatTheMapDoes) {
  auto map = CsvMap::parse(head + "[[fields]]\npath = \"f\"\nconstant = true\n", "m.toml").value();
  map.bind({}).value();
  const auto row = map.row({}, 1).value();
  EXPECT_FALSE(row.time_ns.has_value());
  EXPECT_EQ(row.key + row.id + row.subject + row.source, "");
}

TEST(CsvMap, ConvertsNumbers) {
  const auto number = field_map("convert = \"number\"");
  EXPECT_EQ(payload(number, "52.5999984741211"), R"({"f":52.5999984741211})");
  EXPECT_EQ(payload(number, " +1.5e3 "), R"({"f":1500.0})");
  EXPECT_EQ(payload(number, "-0.25"), R"({"f":-0.25})");
  for (const char* cell : {"abc", "1,5", "1.5x", "0x10", "+-1", "1 2", "."}) {
    EXPECT_EQ(payload(number, cell), "column 'A': '" + std::string(cell) + "' is not a number");
  }
  for (const char* cell : {"nan", "inf", "-inf"}) EXPECT_EQ(payload(number, cell), "column 'A': '" + std::string(cell) + "' is not a finite number");
  EXPECT_EQ(payload(number, "1e400"), "column 'A': '1e400' is not a number");
  EXPECT_EQ(payload(field_map("convert = \"number\"\nscale = 0.5\noffset = 32"), "10"), R"({"f":37.0})");
}

TEST(CsvMap, ReadsNumbersAsOtherCountriesWriteThem) {
  const auto german = field_map("convert = \"number\"", "[csv]\ndecimal = \",\"\nthousands = \".\"\n");
  EXPECT_EQ(payload(german, "1.234.567,5"), R"({"f":1234567.5})");
  const auto comma = field_map("convert = \"number\"", "[csv]\ndecimal = \",\"\n");
  EXPECT_EQ(payload(comma, "3,5"), R"({"f":3.5})");
  EXPECT_EQ(payload(comma, "3.5"), "column 'A': '3.5' is not a number");
}

TEST(CsvMap, ConvertsIntegersExactly) {
  const auto integer = field_map("convert = \"integer\"");
  EXPECT_EQ(payload(integer, "9223372036854775807"), R"({"f":9223372036854775807})");
  EXPECT_EQ(payload(integer, "-9223372036854775808"), R"({"f":-9223372036854775808})");
  EXPECT_EQ(payload(integer, "9223372036854775808"), "column 'A': '9223372036854775808' does not fit 64 bits");
  EXPECT_EQ(payload(integer, "5.0"), "column 'A': '5.0' is not an integer");
  const auto seconds = field_map("convert = \"integer\"\nscale = 1000");
  EXPECT_EQ(payload(seconds, "1.5"), R"({"f":1500})");
  EXPECT_EQ(payload(seconds, "1.0005"), "column 'A': '1.0005' with scale and offset gives no exact integer");
  EXPECT_EQ(payload(seconds, "9007199254741"), "column 'A': '9007199254741' with scale and offset gives no exact integer");
}

TEST(CsvMap, ConvertsTextBoolAndEnum) {
  EXPECT_EQ(payload(field_map("convert = \"text\""), " 舌 \"x\" "), R"({"f":"舌 \"x\""})");
  EXPECT_EQ(payload(field_map("convert = \"text\"", "[csv]\ntrim = false\n"), " x "), R"({"f":" x "})");
  EXPECT_EQ(payload(field_map("convert = \"bool\""), "True"), R"({"f":true})");
  EXPECT_EQ(payload(field_map("convert = \"bool\""), "NO"), R"({"f":false})");
  EXPECT_EQ(payload(field_map("convert = \"bool\""), "maybe"), "column 'A': 'maybe' is neither true nor false");
  const auto inlined = field_map("convert = \"enum\"\nvalues = { M = \"male\", F = 2 }");
  EXPECT_EQ(payload(inlined, "M"), R"({"f":"male"})");
  EXPECT_EQ(payload(inlined, "F"), R"({"f":2})");
  EXPECT_EQ(payload(inlined, "x"), "column 'A': 'x' is not among the map's values 'F', 'M'");
  const auto shared = field_map("convert = \"enum\"\nvalues = \"sex\"\notherwise = \"other\"", "[values.sex]\nM = \"male\"\n");
  EXPECT_EQ(payload(shared, "M"), R"({"f":"male"})");
  EXPECT_EQ(payload(shared, "x"), R"({"f":"other"})");
}

TEST(CsvMap, ConvertsTimes) {
  const auto zoned = field_map("convert = \"time\"\nformats = [\"YYYY-MM-DD HH:mm\", \"rfc3339\"]\ntimezone = \"+08:00\"");
  EXPECT_EQ(payload(zoned, "1970-01-01 08:00"), R"({"f":0})");
  EXPECT_EQ(payload(zoned, "1970-01-01T00:00:01-00:30"), R"({"f":1801000000000})");
  EXPECT_EQ(payload(zoned, "1970-02-30 08:00"),
            "column 'A': '1970-02-30 08:00' is no time of the form 'YYYY-MM-DD HH:mm', 'rfc3339'");
  const auto of_the_event = field_map("convert = \"time\"", "[time]\ncolumn = \"B\"\nformats = [\"M/D/YY\"]\ntimezone = \"unknown\"\n");
  EXPECT_EQ(payload(of_the_event, "1/2/70", "1/1/70"), R"({"f":86400000000000})");
}

TEST(CsvMap, NamesTheColumnOfAnEmptyCell) {
  const std::string why = "column 'A': the cell is empty; if that may be, say empty = \"omit\" in the map";
  for (const char* convert : {"number", "integer", "text", "bool"}) {
    EXPECT_EQ(payload(field_map("convert = \"" + std::string(convert) + "\""), " "), why);
  }
  EXPECT_EQ(payload(field_map("convert = \"number\"", "[csv]\nmissing = [\"NA\", \"-\"]\n"), "NA"), why);
  EXPECT_EQ(payload(head + "key = \"{A}\"\n[[fields]]\npath = \"f\"\nconstant = 1\n", ""), why);
}

TEST(CsvMap, LeavesOutEmptyCellsIfToldTo) {
  const auto omit = field_map("convert = \"number\"\nempty = \"omit\"", "[csv]\nmissing = [\"NA\"]\n");
  EXPECT_EQ(payload(omit, ""), "{}");
  EXPECT_EQ(payload(omit, "NA"), "{}");
  EXPECT_EQ(payload(omit, "0"), R"({"f":0.0})");
  EXPECT_EQ(payload(omit, "x"), "column 'A': 'x' is not a number");
}

const std::string two_parts = head + R"(
  [[fields]]
  path = "v.parts[]"
  empty = "omit"
  fields = [
    { path = "name", constant = "a" },
    { path = "n", column = "A", convert = "number" },
  ]
  [[fields]]
  path = "v.parts[]"
  fields = [
    { path = "name", constant = "b" },
    { path = "n", column = "B", convert = "number", empty = "omit" },
  ]
)";

TEST(CsvMap, BuildsListsOfObjects) {
  EXPECT_EQ(payload(two_parts, "1", "2"), R"({"v":{"parts":[{"name":"a","n":1.0},{"name":"b","n":2.0}]}})");
}

TEST(CsvMap, LeavesOutTheItemOrTheFieldOfAnEmptyCell) {
  EXPECT_EQ(payload(two_parts, "", "2"), R"({"v":{"parts":[{"name":"b","n":2.0}]}})");
  EXPECT_EQ(payload(two_parts, "1", ""), R"({"v":{"parts":[{"name":"a","n":1.0},{"name":"b"}]}})");
}

TEST(CsvMap, BindsColumnsByNameInAnyOrder) {
  auto map = CsvMap::parse(field_map("convert = \"text\""), "m.toml").value();
  map.bind({"X", " A ", "X"}).value();
  EXPECT_EQ(map.row({"1", "2", "3"}, 1).value().payload_json, R"({"f":"2"})");
  EXPECT_EQ(map.row({"1", "2"}, 1).error().detail, "2 cells, the header has 3");
  EXPECT_EQ(map.bind({"a", "B"}).error().detail, "the map uses the column 'A', the file has 'a', 'B'");
  EXPECT_EQ(map.bind({"A", "A"}).error().detail, "the file has two columns 'A'");
}

TEST(CsvMap, SaysHowTheFileIsWritten) {
  const auto layout = CsvMap::parse(field_map("convert = \"text\"", "[csv]\ndelimiter = \";\"\nskip_lines = 3\ncolumns = [\"A\", \"B\"]\n"), "m").value().layout();
  EXPECT_EQ(layout.delimiter, ';');
  EXPECT_EQ(layout.skip_lines, 3u);
  EXPECT_EQ(layout.columns, (std::vector<std::string>{"A", "B"}));
  EXPECT_EQ(CsvMap::parse(field_map("convert = \"text\""), "m").value().layout().delimiter, ',');
}

TEST(CsvMap, RefusesMistakesByLine) {
  const struct {
    std::string toml, why;
  } cases[] = {
      {"type = \"t.T\"\ntopic = = 1", "m.toml:2: "},
      {"topic = \"a\"", "m.toml:1: type is missing"},
      {"type = \"t.T\"", "m.toml:1: topic is missing"},
      {"type = 5\ntopic = \"a\"", "m.toml:1: type must be a string"},
      {head, "m.toml:1: no [[fields]]; the payload would be empty"},
      {head + "topik = \"x\"", "m.toml:3: there is no 'topik' here; there is type, topic, key"},
      {field_map("convert = \"number\"\ncolour = 1"), "m.toml:7: there is no 'colour' here"},
      {field_map("convert = \"nummer\""), "m.toml:6: convert must be number, integer, text, bool, time or enum"},
      {field_map(""), "m.toml:3: convert is missing"},
      {field_map("convert = \"text\"\nconstant = 1"), "m.toml:3: say one of column, constant, template and fields"},
      {field_map("convert = \"text\"\nempty = \"skip\""), "m.toml:7: empty must be \"error\" or \"omit\""},
      {field_map("convert = \"text\"\nscale = 2"), "m.toml:7: scale needs convert = 'number or integer'"},
      {field_map("convert = \"number\"\nscale = \"2\""), "m.toml:7: scale must be a number"},
      {field_map("convert = \"time\""), "m.toml:3: formats is missing, and there is no [time]"},
      {field_map("convert = \"time\"\nformats = [\"YYYY\"]\ntimezone = \"UTC\""), "m.toml:7: time format 'YYYY': no month"},
      {field_map("convert = \"time\"\nformats = [\"M/D/YY\"]"), "m.toml:3: timezone is missing: \"UTC\""},
      {field_map("convert = \"time\"\nformats = [\"M/D/YY\"]\ntimezone = \"CET\""), "m.toml:8: timezone must be"},
      {field_map("convert = \"enum\""), "m.toml:3: values is missing"},
      {field_map("convert = \"enum\"\nvalues = \"x\""), "m.toml:7: there is no [values.x]"},
      {head + "[[fields]]\npath = \"f\"\nconstant = 1979-05-27", "m.toml:5: must be a string, a number, true or false"},
      {head + "[[fields]]\npath = \"f\"\nconstant = 1\nconvert = \"text\"", "m.toml:6: convert belongs to a column"},
      {head + "[[fields]]\npath = \"f..g\"\nconstant = 1", "m.toml:4: path is made of names"},
      {head + "[[fields]]\npath = \"f[].g\"\nconstant = 1", "m.toml:4: path is made of names"},
      {head + "[[fields]]\npath = \"f\"\nconstant = 1\n[[fields]]\npath = \"f.g\"\nconstant = 1", "m.toml:7: path 'f.g' and 'f' fill the same place"},
      {head + "[[fields]]\npath = \"f[]\"\nconstant = 1\n[[fields]]\npath = \"f\"\nconstant = 1", "m.toml:7: path 'f' and 'f[]' fill"},
      {head + "key = \"{A\"", "m.toml:3: a '{' without '}'"},
      {head + "key = \"A}\"", "m.toml:3: a '}' without '{'"},
      {head + "key = \"{@time}\"", "m.toml:3: {@time} needs a [time]"},
      {head + "key = \"{@row}\"", "m.toml:3: {@row} is no column"},
      {head + "[csv]\ndelimiter = \"||\"", "m.toml:4: delimiter must be one ASCII character"},
      {head + "[csv]\nskip_lines = -1", "m.toml:4: skip_lines must be 0 to"},
      {head + "[csv]\ndecimal = \",\"\nthousands = \",\"", "m.toml:3: decimal and thousands are the same"},
      {std::string(CsvMap::map_bytes_max + 1, ' '), "m.toml: more than 1048576 bytes"},
  };
  for (const auto& [toml, why] : cases) {
    const auto error = map_error(toml);
    EXPECT_TRUE(error.starts_with(why)) << toml.substr(0, 300) << "\n  gave: " << error << "\n  not:  " << why;
  }
  EXPECT_EQ(map_error(head + "[[fields]]\npath = \"f\"\nconstant = 1\n[[fields]]\npath = \"fg\"\nconstant = 1"), "accepted");
}

TEST(CsvMap, NamesAFileThatIsNotThere) {
  const auto map = CsvMap::load("/no/such/map.toml");
  ASSERT_FALSE(map.ok());
  EXPECT_EQ(map.error().code, Code::not_found);
  EXPECT_TRUE(map.error().detail.starts_with("/no/such/map.toml: "));
}

// ---- times

// Nanoseconds of a text in a zone 60 minutes to the east, "-" if it does not fit, or the error of the pattern.
std::string time_of(const std::string& pattern, const std::string& text) {
  const auto format = TimeFormat::parse(pattern);
  if (!format) return format.error().detail;
  const auto time = format->read(text, 60);
  return time ? std::to_string(*time / 1'000'000'000) + "." + std::to_string(*time % 1'000'000'000) : "-";
}

TEST(TimeFormat, ReadsEachPart) {
  EXPECT_EQ(time_of("M/D/YYYY H:mm", "4/12/2016 0:05"), "1460415900.0");
  EXPECT_EQ(time_of("M/D/YYYY H:mm", "04/12/2016 13:05"), "1460462700.0");
  EXPECT_EQ(time_of("M/D/YY", "4/12/16"), "1460415600.0");
  EXPECT_EQ(time_of("DD.MM.YYYY HH:mm:ss", "12.04.2016 00:00:59"), "1460415659.0");
  EXPECT_EQ(time_of("YYYYMMDD'at'HHmm", "20160412at0000"), "1460415600.0");
  EXPECT_EQ(time_of("D MMM YYYY", "12 apr 2016"), "1460415600.0");
  EXPECT_EQ(time_of("MMMM D, YYYY", "April 12, 2016"), "1460415600.0");
  EXPECT_EQ(time_of("YYYY-MM-DD HH:mm:ss.SSS", "2016-04-12 00:00:00.25"), "1460415600.250000000");
  EXPECT_EQ(time_of("YYYY-MM-DDTHH:mmZ", "2016-04-12T00:00+0100"), "1460415600.0");
  EXPECT_EQ(time_of("YYYY-MM-DDTHH:mmZ", "2016-04-11T23:00Z"), "1460415600.0");
  EXPECT_EQ(time_of("rfc3339", "2016-04-11T23:00:00Z"), "1460415600.0");
  EXPECT_EQ(time_of("rfc3339", "2016-04-11T23:00:00.123456789Z"), "1460415600.123456789");
  EXPECT_EQ(time_of("unix", "1460415600.5"), "1460415600.500000000");
  EXPECT_EQ(time_of("unix_ms", "1460415600250"), "1460415600.250000000");
  EXPECT_EQ(time_of("unix_ns", "1460415600000000001"), "1460415600.1");
  EXPECT_EQ(time_of("unix", "-1"), "-1.0");
}

TEST(TimeFormat, KnowsTheTwelveHours) {
  const std::string pattern = "M/D/YYYY h:mm:ss AM";
  EXPECT_EQ(time_of(pattern, "4/12/2016 12:00:00 AM"), "1460415600.0");
  EXPECT_EQ(time_of(pattern, "4/12/2016 1:00:00 am"), "1460419200.0");
  EXPECT_EQ(time_of(pattern, "4/12/2016 12:00:00 PM"), "1460458800.0");
  EXPECT_EQ(time_of(pattern, "4/12/2016 11:59:59 PM"), "1460501999.0");
  for (const char* text : {"4/12/2016 0:00:00 AM", "4/12/2016 13:00:00 PM", "4/12/2016 1:00:00 XM", "4/12/2016 1:00:00"}) {
    EXPECT_EQ(time_of(pattern, text), "-") << text;
  }
}

TEST(TimeFormat, RefusesTimesThatAreNot) {
  for (const char* text : {"13/1/2016 0:00", "2/30/2016 0:00", "2/29/2015 0:00", "0/1/2016 0:00", "1/1/2016 24:00", "1/1/2016 0:60",
                           "1/1/2016 0:00 ", "1/1/2016", "1/1/16 0:00", "1/1/2016 0:0", " 1/1/2016 0:00", "1-1-2016 0:00",
                           "1/1/1677 0:00", "1/1/2262 0:00", "001/1/2016 0:00", ""}) {
    EXPECT_EQ(time_of("M/D/YYYY H:mm", text), "-") << text;
  }
  EXPECT_NE(time_of("M/D/YYYY H:mm", "2/29/2016 0:00"), "-");
  EXPECT_NE(time_of("M/D/YYYY H:mm", "1/1/1678 0:00"), "-");
  EXPECT_NE(time_of("M/D/YYYY H:mm", "12/31/2261 23:59"), "-");
  EXPECT_EQ(time_of("MM/DD/YYYY", "1/01/2016"), "-");
  EXPECT_EQ(time_of("unix", "9223372037"), "-");
  EXPECT_EQ(time_of("unix", "9223372036"), "9223372036.0");
  EXPECT_EQ(time_of("rfc3339", "2016-04-11T23:00:00"), "-");
  EXPECT_EQ(time_of("rfc3339", "2016-04-11T23:00:00+19:00"), "-");
}

TEST(TimeFormat, RefusesPatternsThatSayTooLittleOrTooMuch) {
  EXPECT_NE(time_of("M/D/YYYY H:MM", "").find("MM stands for what is there already; M is the month, m the minute"), std::string::npos);
  EXPECT_NE(time_of("M/D", "").find("no year"), std::string::npos);
  EXPECT_NE(time_of("YYYY-MM", "").find("no day"), std::string::npos);
  EXPECT_NE(time_of("M/D/YYYY h:mm", "").find("h and AM go together"), std::string::npos);
  EXPECT_NE(time_of("M/D/YYYY H:mm AM", "").find("h and AM go together"), std::string::npos);
  EXPECT_NE(time_of("M/D/YYYY 'x", "").find("a quote is not closed"), std::string::npos);
  EXPECT_NE(time_of("YYY-M-D", "").find("YYY means nothing"), std::string::npos);
  EXPECT_NE(time_of("Q YYYY-M-D", "").find("Q means nothing"), std::string::npos);
}

TEST(TimeFormat, ReadsOffsets) {
  EXPECT_EQ(parse_offset("UTC"), 0);
  EXPECT_EQ(parse_offset("+08:00"), 480);
  EXPECT_EQ(parse_offset("-0330"), -210);
  EXPECT_EQ(parse_offset("+18"), 1080);
  for (const char* text : {"", "8", "+8", "+19:00", "+08:60", "+08:00x", "08:00", "CET"}) EXPECT_FALSE(parse_offset(text).has_value()) << text;
}

// ---- the maps of the project


PayloadJson health_codec() {
  flatbuffers::Parser parser;
  EXPECT_TRUE(parser.Parse(test::file_text(std::filesystem::path(BUS_SOURCE_DIR) / "schemas/suoke_health.fbs").c_str())) << parser.error_;
  parser.Serialize();
  return PayloadJson::open({parser.builder_.GetBufferPointer(), parser.builder_.GetSize()}, "suoke.health.HealthDataUpdate").value();
}

// What one row reads as once it has been a payload.
std::string mapped(const std::string& map_file, const std::vector<std::string>& header, const std::vector<std::string>& cells) {
  auto map = CsvMap::load(std::filesystem::path(BUS_SOURCE_DIR) / "examples" / map_file);
  if (!map) return map.error().detail;
  if (auto bound = map->bind(header); !bound) return bound.error().detail;
  const auto row = map->row(cells, 2);
  if (!row) return row.error().detail;
  const auto json = health_codec();
  const auto payload = json.encode(row->payload_json);
  return payload ? row->key + " " + json.decode(*payload).value() : payload.error().detail;
}

TEST(ExampleMaps, MapHourlySteps) {
  const std::vector<std::string> header = {"Id", "ActivityHour", "StepTotal"};
  const std::string expected =
      R"(150 {"record_id":"fitbit/hourly-steps/150/2016-04-12T01:00:00Z","user_id":"150","data_type":"steps",)"
      R"("measured_at_ns":1460422800000000000,"time_basis":"local","duration_ns":3600000000000,"device_type":"fitbit",)"
      R"("value":{"number":373},"unit":"steps","loinc_code":"55423-8","ucum_code":"{steps}"})";
  EXPECT_EQ(mapped("fitbit/hourly_steps.toml", header, {"150", "4/12/2016 1:00", "373"}), expected);
  EXPECT_EQ(mapped("fitbit/hourly_steps.toml", header, {"150", "4/12/2016 1:00:00 AM", "373"}), expected);
}

TEST(ExampleMaps, MapDailyActivity) {
  const auto text = mapped("fitbit/daily_activity.toml",
                           {"Id", "ActivityDate", "TotalSteps", "TotalDistance", "TrackerDistance", "LoggedActivitiesDistance",
                            "VeryActiveDistance", "ModeratelyActiveDistance", "LightActiveDistance", "SedentaryActiveDistance",
                            "VeryActiveMinutes", "FairlyActiveMinutes", "LightlyActiveMinutes", "SedentaryMinutes", "Calories"},
                           {"150", "4/12/16", "13162", "8.5", "8.5", "0", "1.88", "0.55", "6.06", "0", "25", "13", "328", "728", "1985"});
  EXPECT_NE(text.find(R"("measured_at_ns":1460419200000000000,)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"("value":{"number":13162,"parts":[{"name":"total_distance","number":8.5,)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"({"name":"energy","number":1985,"unit":"kcal","ucum_code":"kcal"}]})"), std::string::npos) << text;
}

TEST(ExampleMaps, MapSleep) {
  const auto text = mapped("fitbit/sleep.toml", {"Id", "SleepDay", "TotalSleepRecords", "TotalMinutesAsleep", "TotalTimeInBed"},
                           {"150", "4/12/2016 12:00:00 AM", "1", "327", "346"});
  EXPECT_NE(text.find(R"("value":{"number":327,"parts":[{"name":"minutes_in_bed","number":346,)"), std::string::npos) << text;
}

TEST(ExampleMaps, MapWeightWithAndWithoutFat) {
  const std::vector<std::string> header = {"Id", "Date", "WeightKg", "WeightPounds", "Fat", "BMI", "IsManualReport", "LogId"};
  const auto with = mapped("fitbit/weight.toml", header, {"150", "5/2/2016 11:59:59 PM", "52.6", "115.96", "22", "22.65", "True", "146"});
  EXPECT_NE(with.find(R"("device_type":"manual_entry","value":{"number":52.6,)"), std::string::npos) << with;
  EXPECT_NE(with.find(R"({"name":"body_fat","number":22,"unit":"percent","ucum_code":"%"})"), std::string::npos) << with;
  const auto without = mapped("fitbit/weight.toml", header, {"150", "5/2/2016 11:59:59 PM", "52.6", "115.96", "", "22.65", "False", "146"});
  EXPECT_NE(without.find(R"("device_type":"fitbit")"), std::string::npos) << without;
  EXPECT_EQ(without.find("body_fat"), std::string::npos) << without;
}

// The texts between .Bd and .Ed: a file, the map, and what becomes of the second row.
std::vector<std::string> displays_of(const std::string& manual) {
  std::vector<std::string> out;
  for (auto begin = manual.find(".Bd -literal"); begin != manual.npos; begin = manual.find(".Bd -literal", begin)) {
    begin = manual.find('\n', begin) + 1;
    out.push_back(manual.substr(begin, manual.find(".Ed", begin) - begin));
  }
  return out;
}

TEST(ExampleMaps, MapTheFileOfTheManual) {
  const auto displays = displays_of(test::file_text(std::filesystem::path(BUS_SOURCE_DIR) / "docs/bus-import-map.5"));
  ASSERT_EQ(displays.size(), 3u);
  auto map = CsvMap::parse(displays[1], "manual").value();
  std::istringstream in(displays[0]);
  CsvReader reader(in, map.layout().delimiter, map.layout().skip_lines);
  map.bind(reader.read().value()->cells).value();
  const auto first = reader.read().value().value();
  EXPECT_EQ(map.row(first.cells, first.line).value().payload_json.find("metadata"), std::string::npos);
  const auto second = reader.read().value().value();
  const auto json = health_codec();
  auto expected = displays[2];
  for (auto at = expected.find('\n'); at != expected.npos; at = expected.find('\n')) expected.erase(at, expected[at + 1] == ' ' ? 2 : 1);
  EXPECT_EQ(json.decode(json.encode(map.row(second.cells, second.line).value().payload_json).value()).value(), expected);
  EXPECT_EQ(second.line, 4u);
}

TEST(ExampleMaps, MapHeartRate) {
  const auto text = mapped("vitals/heart_rate.toml", {"Id", "Time", "Value"}, {"150", "4/12/2016 7:00:00 AM", "68"});
  EXPECT_NE(text.find(R"("value":{"number":68},"unit":"bpm","loinc_code":"8867-4")"), std::string::npos) << text;
}

}  // namespace
}  // namespace bus::tools
