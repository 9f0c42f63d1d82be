// Runs the kernels on the cases of a file and compares with what the numpy reference gave; for
// machines and emulators without Python. tests/kernels/golden.py writes the file and describes it.
//
//   kernels_test FILE        exit status 0: every value lies within its tolerance

#include "edgesdk/kernels.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

[[noreturn]] void give_up(const std::string &reason) {
  std::fprintf(stderr, "kernels_test: %s\n", reason.c_str());
  std::exit(2);
}

// Reads numbers in the byte order of the machine; every machine of ours is little-endian.
class Reader {
 public:
  explicit Reader(const char *path) : file_(std::fopen(path, "rb")) {
    if (!file_) give_up(std::string("cannot open ") + path);
  }
  ~Reader() { std::fclose(file_); }
  Reader(const Reader &) = delete;
  Reader &operator=(const Reader &) = delete;

  bool at_end() {
    const int next = std::fgetc(file_);
    std::ungetc(next, file_);
    return next == EOF;
  }

  std::vector<char> bytes(std::size_t count) {
    std::vector<char> result(count);
    if (std::fread(result.data(), 1, count, file_) != count) give_up("the file ends too early");
    return result;
  }

  int64_t number() {
    int64_t value;
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }

 private:
  std::FILE *file_;
};

struct Tally {
  int case_count = 0;
  double largest_share = 0;  // of the tolerance, over all values
};

// The arrays of one case, taken in order: a kernel's inputs, then what each output must be. Every
// array is an allocation of exactly its size, so a sanitizer sees a read beyond the end.
class Case {
 public:
  explicit Case(Reader &file) {
    const std::vector<char> name = file.bytes(static_cast<std::size_t>(file.number()));
    kernel.assign(name.begin(), name.end());
    for (int64_t left = file.number(); left > 0; --left) {
      arrays_.push_back(file.bytes(static_cast<std::size_t>(file.number())));
    }
  }

  template <typename T>
  const T *take() {  // NULL for an empty array: "left out"
    const std::vector<char> &array = next();
    return array.empty() ? nullptr : reinterpret_cast<const T *>(array.data());
  }

  template <typename T>
  void expect(const std::vector<T> &found, const char *output) {
    const std::vector<char> &expected = next(), &allowed = next();
    if (expected.size() != found.size() * sizeof(T)) give_up(kernel + ": another output size");
    for (std::size_t i = 0; i < found.size(); ++i) {
      T value;
      double tolerance;
      std::memcpy(&value, expected.data() + i * sizeof value, sizeof value);
      std::memcpy(&tolerance, allowed.data() + i * sizeof tolerance, sizeof tolerance);
      compare(static_cast<double>(found[i]), static_cast<double>(value), tolerance, output, i);
    }
  }

  void expect_status(edgesdk_status status) {
    expect(std::vector<int64_t>{static_cast<int64_t>(status)}, "status");
  }

  bool is_used_up() const { return next_ == arrays_.size(); }

  std::string kernel;
  double largest_share = 0;
  int wrong_count = 0;

 private:
  const std::vector<char> &next() {
    if (is_used_up()) give_up(kernel + ": too few arrays");
    return arrays_[next_++];
  }

  void compare(double found, double expected, double tolerance, const char *output,
               std::size_t index) {
    if (found == expected || (std::isnan(found) && std::isnan(expected))) return;
    const double share = std::fabs(found - expected) / tolerance;
    if (std::isfinite(expected) && share <= 1) {
      largest_share = std::fmax(largest_share, share);
      return;
    }
    if (wrong_count++ == 0) {
      std::printf("%s: %s[%zu] is %.9g, expected %.9g within %.3g\n", kernel.c_str(), output, index,
                  found, expected, tolerance);
    }
  }

  std::vector<std::vector<char>> arrays_;
  std::size_t next_ = 0;
};

edgesdk_features take_features(Case &given, const int64_t *sizes) {
  const float *features = given.take<float>(), *scale = given.take<float>();
  return {features, scale, given.take<float>(), sizes[0], sizes[1], sizes[2]};
}

struct Scores {
  explicit Scores(int64_t B) : class_index(B), max_probability(B), margin(B), entropy(B) {}

  edgesdk_scores targets() {
    return {class_index.data(), max_probability.data(), margin.data(), entropy.data()};
  }
  void compare(Case &given) const {
    given.expect(class_index, "class_index");
    given.expect(max_probability, "max_probability");
    given.expect(margin, "margin");
    given.expect(entropy, "entropy");
  }

  std::vector<int64_t> class_index;
  std::vector<float> max_probability, margin, entropy;
};

void exit_head(Case &given) {
  const int64_t *sizes = given.take<int64_t>();  // B, C, S, N
  const edgesdk_features input = take_features(given, sizes);
  const float *weight = given.take<float>(), *bias = given.take<float>();
  std::vector<float> logits(sizes[0] * sizes[3]);
  Scores with(sizes[0]), without(sizes[0]);
  given.expect_status(
      edgesdk_exit_head(&input, weight, bias, sizes[3], with.targets(), logits.data()));
  edgesdk_exit_head(&input, weight, bias, sizes[3], without.targets(), nullptr);
  given.expect(logits, "logits");
  with.compare(given);
  without.compare(given);
}

void exit_scores(Case &given) {
  const int64_t *sizes = given.take<int64_t>();  // B, N
  Scores scores(sizes[0]);
  given.expect_status(
      edgesdk_exit_scores(given.take<float>(), sizes[0], sizes[1], scores.targets()));
  scores.compare(given);
}

void exit_feature(Case &given) {
  const int64_t *sizes = given.take<int64_t>();  // B, C, S, D
  const edgesdk_features input = take_features(given, sizes);
  std::vector<float> feature(sizes[0] * sizes[3]);
  given.expect_status(edgesdk_exit_feature(&input, given.take<float>(), sizes[3], feature.data()));
  given.expect(feature, "feature");
}

void cosine_difference(Case &given) {
  const int64_t *sizes = given.take<int64_t>();  // B, D
  const float *feature = given.take<float>(), *first = given.take<float>();
  std::vector<float> difference(sizes[0]);
  given.expect_status(
      edgesdk_cosine_difference(feature, first, sizes[0], sizes[1], difference.data()));
  given.expect(difference, "difference");
}

void gather_rows(Case &given) {
  const int64_t *sizes = given.take<int64_t>();  // B, row_bytes, K
  const char *rows = given.take<char>();
  const int64_t *indices = given.take<int64_t>();
  std::vector<uint8_t> gathered(sizes[1] * sizes[2], 7);  // what is not written stays 7
  given.expect_status(
      edgesdk_gather_rows(rows, sizes[0], sizes[1], indices, sizes[2], gathered.data()));
  given.expect(gathered, "gathered");
}

void quantize_u8(Case &given) {
  const int64_t N = *given.take<int64_t>();
  std::vector<uint8_t> quantized(N);
  std::vector<float> scale_zero(2);
  given.expect_status(edgesdk_quantize_u8(given.take<float>(), N, quantized.data(), &scale_zero[0],
                                          &scale_zero[1]));
  given.expect(quantized, "quantized");
  given.expect(scale_zero, "scale, zero");
}

void dequantize_u8(Case &given) {
  const int64_t N = *given.take<int64_t>();
  const uint8_t *quantized = given.take<uint8_t>();
  const float *scale_zero = given.take<float>();
  std::vector<float> values(N);
  given.expect_status(
      edgesdk_dequantize_u8(quantized, N, scale_zero[0], scale_zero[1], values.data()));
  given.expect(values, "values");
}

const std::map<std::string, void (*)(Case &)> kKernels = {
    {"exit_head", exit_head},         {"exit_scores", exit_scores},
    {"exit_feature", exit_feature},   {"cosine_difference", cosine_difference},
    {"gather_rows", gather_rows},     {"quantize_u8", quantize_u8},
    {"dequantize_u8", dequantize_u8},
};

}  // namespace

int main(int argument_count, char **arguments) {
  if (argument_count != 2) give_up("expected one argument: the file of cases");
  Reader file(arguments[1]);
  std::map<std::string, Tally> tallies;
  int wrong_count = 0;
  while (!file.at_end()) {
    Case given(file);
    const auto kernel = kKernels.find(given.kernel);
    if (kernel == kKernels.end()) give_up("no kernel is called " + given.kernel);
    kernel->second(given);
    if (!given.is_used_up()) give_up(given.kernel + ": too many arrays");
    Tally &tally = tallies[given.kernel];
    ++tally.case_count;
    tally.largest_share = std::fmax(tally.largest_share, given.largest_share);
    wrong_count += given.wrong_count;
  }
  for (const auto &entry : tallies) {
    std::printf("%-18s %3d cases, largest error %.2f of what is allowed\n", entry.first.c_str(),
                entry.second.case_count, entry.second.largest_share);
  }
  if (tallies.size() != kKernels.size()) give_up("some kernels have no case");
  std::printf("%s\n", wrong_count ? "WRONG" : "all agree");
  return wrong_count ? 1 : 0;
}
