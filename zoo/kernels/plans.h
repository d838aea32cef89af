// oneDNN's primitives for products of given shapes, each made once and then kept.

#ifndef ZOO_KERNELS_PLANS_H_
#define ZOO_KERNELS_PLANS_H_

#include <omp.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>

#include "dnnl.hpp"

using dnnl::memory;

namespace zoo {

inline const dnnl::engine& Engine() {
  static const dnnl::engine* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

// Memory of one thread that grows to the largest call, so that no step asks the system for pages.
class Arena {
 public:
  ~Arena() { std::free(data_); }
  char* Reserve(size_t bytes) {
    if (bytes > size_) {
      std::free(data_);
      size_ = (bytes + 4095) / 4096 * 4096;
      data_ = static_cast<char*>(std::aligned_alloc(4096, size_));
      if (data_ == nullptr) throw std::bad_alloc();
    }
    return data_;
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

inline size_t Padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

// One array of a product: its layout in XLA, and the layout oneDNN computes in.
struct Operand {
  int argument;  // what oneDNN calls it
  memory::desc given;
  memory::desc used;

  bool Reorders() const { return given != used; }
  size_t Bytes() const { return Reorders() ? Padded(used.get_size()) : 0; }
};

inline dnnl::reorder Between(const memory::desc& from, const memory::desc& to) {
  return dnnl::reorder(dnnl::reorder::primitive_desc(Engine(), from, Engine(), to));
}

// A primitive with its two inputs and its output, made once for each shape.
struct Plan {
  dnnl::primitive primitive;
  Operand left, right, output;
  memory::desc scratchpad, bias;
  dnnl::reorder before, after;  // of the right input and of the output, where they are needed

  Plan(const dnnl::primitive& made, const memory::desc& scratch, const Operand& a, const Operand& b,
       const Operand& out, const memory::desc& added = {})
      : primitive(made), left(a), right(b), output(out), scratchpad(scratch), bias(added) {
    if (right.Reorders()) before = Between(right.given, right.used);
    if (output.Reorders()) after = Between(output.used, output.given);
  }

  // The right input as oneDNN wants it, in `room` if it is not so already.
  memory Right(const dnnl::stream& stream, void* data, char* room) const {
    memory given(right.given, Engine(), data);
    if (!right.Reorders()) return given;
    memory used(right.used, Engine(), room);
    before.execute(const_cast<dnnl::stream&>(stream), given, used);
    return used;
  }

  // One product; `room` holds `Room()` bytes.
  void Execute(dnnl::stream& stream, void* a, const memory& b, void* added, void* out,
               char* room) const {
    memory result(output.given, Engine(), out);
    memory computed = output.Reorders() ? memory(output.used, Engine(), room) : result;
    std::unordered_map<int, memory> arguments = {
        {left.argument, memory(left.given, Engine(), a)},
        {right.argument, b},
        {output.argument, computed},
        {DNNL_ARG_SCRATCHPAD, memory(scratchpad, Engine(), room + output.Bytes())}};
    if (added != nullptr) arguments.emplace(DNNL_ARG_BIAS, memory(bias, Engine(), added));
    primitive.execute(stream, arguments);
    if (output.Reorders()) after.execute(stream, computed, result);
    stream.wait();
  }

  size_t Room() const { return output.Bytes() + Padded(scratchpad.get_size()); }
};

inline dnnl::stream& Stream() {
  thread_local dnnl::stream stream(Engine());
  return stream;
}

inline dnnl::primitive_attr Attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// What a layer does to the product besides: forward y = scale * leaky(product + bias), backward
// product * (gate > 0 ? scale : scale * slope), with the sum of that over all but the channels.
struct Activation {
  float slope, scale;
};

// A convolution in numbers, as `_product` in products.py writes them; `role` says which of its three
// arrays is computed: the result, or the gradient by the source or by the kernel.
enum Role : int64_t { kForward, kBySource, kByKernel, kMatrix };

struct Convolution {
  int64_t batch, in_height, in_width, in_channels, out_height, out_width, out_channels;
  int64_t height, width;  // of the kernel
  int64_t stride_y, stride_x, top, left, bottom, right, dilation_y, dilation_x;
  int64_t step_y, step_x, step_in, step_out;  // of the kernel in memory, in elements

  memory::dims Source() const { return {batch, in_channels, in_height, in_width}; }
  memory::dims Result() const { return {batch, out_channels, out_height, out_width}; }
  memory::dims Kernel() const { return {out_channels, in_channels, height, width}; }
  memory::dims KernelSteps() const { return {step_out, step_in, step_y, step_x}; }
  memory::dims Strides() const { return {stride_y, stride_x}; }
  memory::dims Dilations() const { return {dilation_y - 1, dilation_x - 1}; }
  memory::dims Before() const { return {top, left}; }
  memory::dims After() const { return {bottom, right}; }
};

// A product of two matrices in numbers, with the steps of their axes in elements.
struct Matrices {
  int64_t rows, inner, columns, left_row, left_inner, right_inner, right_column;
};

// What identifies a plan: of one kind of product, everything that its primitive is made from.
struct Shape {
  int64_t role;
  Convolution convolution;
  Matrices matrices;
  memory::data_type in, out;
  bool has_bias;
  Activation activation;

  int64_t& Batch() { return role == kMatrix ? matrices.rows : convolution.batch; }
};

constexpr auto kAny = memory::format_tag::any;
constexpr auto kImages = memory::format_tag::nhwc;
constexpr auto kFloat = memory::data_type::f32;

inline dnnl::primitive_attr Attributes(const Shape& shape) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (shape.has_bias) {
    dnnl::post_ops after;
    const Activation& phi = shape.activation;
    if (phi.slope != 1) after.append_eltwise(dnnl::algorithm::eltwise_relu, phi.slope, 0);
    if (phi.scale != 1) after.append_eltwise(dnnl::algorithm::eltwise_linear, phi.scale, 0);
    attributes.set_post_ops(after);
  }
  return attributes;
}

inline std::unique_ptr<Plan> MakeForward(const Shape& s) {
  const Convolution& c = s.convolution;
  const memory::desc source(c.Source(), s.in, kImages), result(c.Result(), s.out, kImages);
  const memory::desc kernel(c.Kernel(), s.in, kAny), given(c.Kernel(), s.in, c.KernelSteps());
  const memory::desc bias =
      s.has_bias ? memory::desc({c.out_channels}, kFloat, memory::format_tag::x) : memory::desc();
  const dnnl::convolution_forward::primitive_desc made(
      Engine(), dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, source,
      kernel, bias, result, c.Strides(), c.Dilations(), c.Before(), c.After(), Attributes(s));
  return std::make_unique<Plan>(dnnl::convolution_forward(made), made.scratchpad_desc(),
                                Operand{DNNL_ARG_SRC, source, source},
                                Operand{DNNL_ARG_WEIGHTS, given, made.weights_desc()},
                                Operand{DNNL_ARG_DST, result, result}, bias);
}

// The forward convolution that a gradient belongs to, all of one type.
inline dnnl::convolution_forward::primitive_desc Hint(const Shape& s) {
  const Convolution& c = s.convolution;
  return {Engine(), dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct,
          memory::desc(c.Source(), s.in, kImages), memory::desc(c.Kernel(), s.in, kAny),
          memory::desc(c.Result(), s.in, kImages), c.Strides(), c.Dilations(), c.Before(),
          c.After(), Attributes(s)};
}

inline std::unique_ptr<Plan> MakeBySource(const Shape& s) {
  const Convolution& c = s.convolution;
  const memory::desc source(c.Source(), s.out, kImages), result(c.Result(), s.in, kImages);
  const memory::desc kernel(c.Kernel(), s.in, kAny), given(c.Kernel(), s.in, c.KernelSteps());
  const dnnl::convolution_backward_data::primitive_desc made(
      Engine(), dnnl::algorithm::convolution_direct, source, kernel, result, c.Strides(),
      c.Dilations(), c.Before(), c.After(), Hint(s), Attributes(s));
  return std::make_unique<Plan>(dnnl::convolution_backward_data(made), made.scratchpad_desc(),
                                Operand{DNNL_ARG_DIFF_DST, result, result},
                                Operand{DNNL_ARG_WEIGHTS, given, made.weights_desc()},
                                Operand{DNNL_ARG_DIFF_SRC, source, source});
}

inline std::unique_ptr<Plan> MakeByKernel(const Shape& s) {
  const Convolution& c = s.convolution;
  const memory::desc source(c.Source(), s.in, kImages), result(c.Result(), s.in, kImages);
  const memory::desc kernel(c.Kernel(), s.out, kAny), given(c.Kernel(), s.out, c.KernelSteps());
  const dnnl::convolution_backward_weights::primitive_desc made(
      Engine(), dnnl::algorithm::convolution_direct, source, kernel, result, c.Strides(),
      c.Dilations(), c.Before(), c.After(), Hint(s), Attributes(s));
  return std::make_unique<Plan>(dnnl::convolution_backward_weights(made), made.scratchpad_desc(),
                                Operand{DNNL_ARG_SRC, source, source},
                                Operand{DNNL_ARG_DIFF_DST, result, result},
                                Operand{DNNL_ARG_DIFF_WEIGHTS, given, made.diff_weights_desc()});
}

// Rows of the left matrix for each of the right one, from which on bringing that into blocks pays:
// it then is several times as fast.
constexpr int64_t kBlockedRows = 2;

inline std::unique_ptr<Plan> MakeMatrix(const Shape& s) {
  const Matrices& m = s.matrices;
  const memory::dims right_steps{m.right_inner, m.right_column}, sizes{m.inner, m.columns};
  const memory::desc left({m.rows, m.inner}, s.in, memory::dims{m.left_row, m.left_inner});
  const memory::desc right(sizes, s.in, right_steps);
  const memory::desc used =
      m.rows < kBlockedRows * m.inner ? right : memory::desc(sizes, s.in, kAny);
  const memory::desc result({m.rows, m.columns}, s.out, memory::dims{m.columns, 1});
  const memory::desc bias =
      s.has_bias ? memory::desc({1, m.columns}, kFloat, memory::dims{m.columns, 1})
                 : memory::desc();
  const dnnl::matmul::primitive_desc made(Engine(), left, used, bias, result, Attributes(s));
  return std::make_unique<Plan>(dnnl::matmul(made), made.scratchpad_desc(),
                                Operand{DNNL_ARG_SRC, left, left},
                                Operand{DNNL_ARG_WEIGHTS, right, made.weights_desc()},
                                Operand{DNNL_ARG_DST, result, result}, bias);
}

inline std::unique_ptr<Plan> Make(const Shape& shape) {
  switch (shape.role) {
    case kForward: return MakeForward(shape);
    case kBySource: return MakeBySource(shape);
    case kByKernel: return MakeByKernel(shape);
    default: return MakeMatrix(shape);
  }
}

// The plan of a shape for `threads` threads, made when it is met for the first time and then kept.
inline const Plan& Planned(const Shape& shape, int threads) {
  static std::mutex* mutex = new std::mutex;
  static auto* plans = new std::unordered_map<std::string, std::unique_ptr<Plan>>;
  std::string key(sizeof(Shape) + sizeof(threads), 0);
  std::memcpy(&key[0], &shape, sizeof(Shape));
  std::memcpy(&key[sizeof(Shape)], &threads, sizeof(threads));
  const std::lock_guard<std::mutex> lock(*mutex);
  std::unique_ptr<Plan>& plan = (*plans)[key];
  if (plan == nullptr) {
    const int all = omp_get_max_threads();
    omp_set_num_threads(threads);
    plan = Make(shape);
    omp_set_num_threads(all);
  }
  return *plan;
}

}  // namespace zoo

#endif  // ZOO_KERNELS_PLANS_H_
