// Goal: every CSV file that RFC 4180 allows is taken apart rightly, with the line each row begins on; whatever else
// is in a file is refused by line, and does not spoil the rows after it.
// Method: small texts from memory, read to their end and compared as a whole.
#include "tools/csv_reader.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/file_hash.hpp"

namespace bus::tools {
namespace {

// "1:a|b" for a row on line 1, "!line 2: …" for an error; one a line.
std::string read_all(const std::string& text, char delimiter = ',', std::size_t skip_lines = 0) {
  std::istringstream in(text);
  CsvReader reader(in, delimiter, skip_lines);
  std::string out;
  for (int turn = 0; turn < 100; ++turn) {
    const auto row = reader.read();
    if (row.ok() && !row->has_value()) return out;
    if (!row) {
      out += "!" + row.error().detail + "\n";
      continue;
    }
    out += std::to_string((*row)->line) + ":";
    for (std::size_t i = 0; i < (*row)->cells.size(); ++i) out += (i > 0 ? "|" : "") + (*row)->cells[i];
    out += "\n";
  }
  return out + "no end";
}

TEST(CsvReader, ReadsCellsAndLines) {
  EXPECT_EQ(read_all("a,b\nc,d\n"), "1:a|b\n2:c|d\n");
  EXPECT_EQ(read_all("a,b\r\nc,d\r\n"), "1:a|b\n2:c|d\n");
  EXPECT_EQ(read_all("a,b\rc,d\r"), "1:a|b\n2:c|d\n");
  EXPECT_EQ(read_all("a;b\nc,;d\n", ';'), "1:a|b\n2:c,|d\n");
  EXPECT_EQ(read_all("a\tb\n", '\t'), "1:a|b\n");
}

TEST(CsvReader, NeedsNoLineEndAtTheEnd) {
  EXPECT_EQ(read_all("a,b\nc,d"), "1:a|b\n2:c|d\n");
  EXPECT_EQ(read_all("a,b\nc,"), "1:a|b\n2:c|\n");
  EXPECT_EQ(read_all("a,b\nc,\"d\""), "1:a|b\n2:c|d\n");
  EXPECT_EQ(read_all(""), "");
  EXPECT_EQ(read_all("\n\r\n"), "");
}

TEST(CsvReader, KeepsEmptyCellsAndSpaces) {
  EXPECT_EQ(read_all(",,\n, b ,\"\"\n"), "1:||\n2:| b |\n");
}

TEST(CsvReader, ReadsQuotedCells) {
  EXPECT_EQ(read_all("\"a,b\",\"say \"\"hi\"\"\"\n\"\"\"\",x\n"), "1:a,b|say \"hi\"\n2:\"|x\n");
  EXPECT_EQ(read_all("5\" nail,b\n"), "1:5\" nail|b\n");
}

TEST(CsvReader, CountsLinesWithinQuotes) {
  EXPECT_EQ(read_all("a,\"x\r\ny\nz\rw\"\nb,c\n"), "1:a|x\r\ny\nz\rw\n5:b|c\n");
}

TEST(CsvReader, PassesOverMarkBlankLinesAndPreamble) {
  EXPECT_EQ(read_all("\xEF\xBB\xBF" "a,b\n\n\r\nc,d\n\n"), "1:a|b\n4:c|d\n");
  EXPECT_EQ(read_all("\xEF\xBB\xBF" "\"a\",b\n"), "1:a|b\n");
  EXPECT_EQ(read_all("Report \"x\r\nof today\r\na,b\n", ',', 2), "3:a|b\n");
  EXPECT_EQ(read_all("one line", ',', 5), "");
}

TEST(CsvReader, RefusesRowsOfAnotherWidthAndGoesOn) {
  EXPECT_EQ(read_all("a,b\nc\nd,e,f\ng,h\n"),
            "1:a|b\n!line 2: 1 cells, where the first row has 2\n!line 3: 3 cells, where the first row has 2\n4:g|h\n");
}

TEST(CsvReader, RefusesTextAfterAClosingQuoteAndGoesOn) {
  EXPECT_EQ(read_all("\"a\"x,b\nc,d\n"), "!line 1: text after a closing quote; quotes within a quoted cell are doubled\n2:c|d\n");
}

TEST(CsvReader, RefusesWhatIsNotUtf8) {
  EXPECT_EQ(read_all("a\xFF,b\nc,\xE8\x88\x8C\n"), "!line 1: not UTF-8; convert the file first, with iconv\n2:c|\xE8\x88\x8C\n");
  EXPECT_EQ(read_all(std::string("\xFF\xFE" "a\0,\0", 6)), "!line 1: this is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8\n");
  EXPECT_EQ(read_all("\xEF\xBB" "a,b\n"), "!line 1: not UTF-8; convert it first, with iconv\n");
}

TEST(CsvReader, RefusesAQuoteThatIsNeverClosed) {
  EXPECT_EQ(read_all("a,b\nc,\"d\ne,f\n"), "1:a|b\n!line 2: a quote opens and is never closed\n");
}

TEST(CsvReader, TakesRowsUpToTheirLimitAndNotBeyond) {
  const auto row_of = [](std::size_t bytes) { return "a," + std::string(bytes - 2, 'x'); };
  EXPECT_EQ(read_all(row_of(CsvReader::row_bytes_max)).substr(0, 5), "1:a|x");
  EXPECT_EQ(read_all(row_of(CsvReader::row_bytes_max + 1) + "\nb,c\n"),
            "!line 1: the row has more than 1048576 bytes; is a quote not closed?\n");
  EXPECT_EQ(read_all("\"" + std::string(CsvReader::row_bytes_max + 1, '\n')),
            "!line 1: the row has more than 1048576 bytes; is a quote not closed?\n");
}

TEST(CsvReader, TakesAsManyCellsAsItsLimitAndNotOneMore) {
  EXPECT_EQ(read_all(std::string(CsvReader::cells_max - 1, ',') + "\n").front(), '1');
  EXPECT_EQ(read_all(std::string(CsvReader::cells_max, ',') + "\n"), "!line 1: the row has more than 4096 cells; is the delimiter right?\n");
}

TEST(FileHash, IsXxh3Of128BitsOfTheContents) {
  const auto path = std::filesystem::temp_directory_path() / ("bus_file_hash_test." + std::to_string(::getpid()));
  std::ofstream(path) << "";
  EXPECT_EQ(file_hash(path).value(), "99aa06d3014798d86001c324468d497f");  // of no bytes, from the XXH3 specification
  std::ofstream(path) << std::string(200'000, 'x');
  const auto long_hash = file_hash(path).value();
  std::ofstream(path) << std::string(199'999, 'x') << 'y';
  EXPECT_NE(file_hash(path).value(), long_hash);
  std::filesystem::remove(path);
  EXPECT_EQ(file_hash(path).error().code, Code::not_found);
}

}  // namespace
}  // namespace bus::tools
