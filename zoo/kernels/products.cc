// Convolutions and matrix products by oneDNN, as custom calls of XLA on a processor.
//
// Images are [batch, height, width, channel] as XLA has them; kernels are brought into the blocked
// layout that oneDNN chooses, and kernel gradients back out of it, inside the call.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dnnl::memory;
using Numbers = ffi::Span<const int64_t>;

namespace {

const dnnl::engine& Engine() {
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

size_t Padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

// One array of a call: its layout in XLA, the layout oneDNN computes in, and its argument number.
struct Operand {
  int argument;
  memory::desc given;
  memory::desc used;
  dnnl::reorder reorder;

  bool Reorders() const { return given != used; }
  size_t Bytes() const { return Reorders() ? Padded(used.get_size()) : 0; }
};

// A primitive with its two inputs and its output, made once for each shape.
struct Plan {
  dnnl::primitive primitive;
  Operand inputs[2];
  Operand output;
  memory::desc scratchpad;

  Plan(const dnnl::primitive& made, const memory::desc& scratch, Operand a, Operand b, Operand out)
      : primitive(made), inputs{std::move(a), std::move(b)}, output(std::move(out)),
        scratchpad(scratch) {
    for (Operand& input : inputs) {
      if (input.Reorders()) input.reorder = Between(input.given, input.used);
    }
    if (output.Reorders()) output.reorder = Between(output.used, output.given);
  }

  void Run(void* a, void* b, void* out) const {
    thread_local dnnl::stream stream(Engine());
    thread_local Arena arena;
    char* free = arena.Reserve(inputs[0].Bytes() + inputs[1].Bytes() + output.Bytes() +
                               scratchpad.get_size());
    std::unordered_map<int, memory> arguments;
    void* pointers[2] = {a, b};
    for (int i = 0; i < 2; ++i) {
      const Operand& input = inputs[i];
      memory given(input.given, Engine(), pointers[i]);
      if (input.Reorders()) {
        memory used(input.used, Engine(), free);
        free += input.Bytes();
        input.reorder.execute(stream, given, used);
        given = used;
      }
      arguments.emplace(input.argument, given);
    }
    memory result(output.given, Engine(), out);
    memory computed = output.Reorders() ? memory(output.used, Engine(), free) : result;
    free += output.Bytes();
    arguments.emplace(output.argument, computed);
    arguments.emplace(DNNL_ARG_SCRATCHPAD, memory(scratchpad, Engine(), free));
    primitive.execute(stream, arguments);
    if (output.Reorders()) output.reorder.execute(stream, computed, result);
    stream.wait();
  }

 private:
  static dnnl::reorder Between(const memory::desc& from, const memory::desc& to) {
    return dnnl::reorder(dnnl::reorder::primitive_desc(Engine(), from, Engine(), to));
  }
};

memory::data_type Type(ffi::DataType type) {
  return type == ffi::DataType::BF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

dnnl::primitive_attr Attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// What a call computes, in numbers: the order is that of `geometry` in calls.py.
struct Convolution {
  int64_t batch, in_height, in_width, in_channels, out_height, out_width, out_channels;
  int64_t height, width;                            // of the kernel
  int64_t stride_y, stride_x, top, left, bottom, right, dilation_y, dilation_x;
  int64_t step_y, step_x, step_in, step_out;        // of the kernel in memory, in elements

  memory::dims Source() const { return {batch, in_channels, in_height, in_width}; }
  memory::dims Result() const { return {batch, out_channels, out_height, out_width}; }
  memory::dims Kernel() const { return {out_channels, in_channels, height, width}; }
  memory::dims KernelSteps() const { return {step_out, step_in, step_y, step_x}; }
  memory::dims Strides() const { return {stride_y, stride_x}; }
  memory::dims Dilations() const { return {dilation_y - 1, dilation_x - 1}; }
  memory::dims Before() const { return {top, left}; }
  memory::dims After() const { return {bottom, right}; }
};

constexpr auto kDirect = dnnl::algorithm::convolution_direct;
constexpr auto kImages = memory::format_tag::nhwc;

std::unique_ptr<Plan> MakeConvolution(int64_t role, const Convolution& c, ffi::DataType a,
                                      ffi::DataType out) {
  // What is computed has the type `out`: the result (role 0), the gradient by the images (1) or by
  // the kernel (2). The forward convolution that a gradient belongs to is all of one type.
  const auto any = memory::format_tag::any;
  auto type = [&](int64_t wanted) { return Type(role == wanted ? out : a); };
  const memory::desc result(c.Result(), type(0), kImages), source(c.Source(), type(1), kImages);
  const memory::desc kernel(c.Kernel(), type(2), any);
  const memory::desc plain(c.Kernel(), type(2), c.KernelSteps());
  const dnnl::convolution_forward::primitive_desc forward(
      Engine(), dnnl::prop_kind::forward_training, kDirect,
      memory::desc(c.Source(), Type(a), kImages), memory::desc(c.Kernel(), Type(a), any),
      memory::desc(c.Result(), type(0), kImages), c.Strides(), c.Dilations(), c.Before(),
      c.After(), Attributes());
  if (role == 0) {
    return std::make_unique<Plan>(
        dnnl::convolution_forward(forward), forward.scratchpad_desc(),
        Operand{DNNL_ARG_SRC, source, source, {}},
        Operand{DNNL_ARG_WEIGHTS, plain, forward.weights_desc(), {}},
        Operand{DNNL_ARG_DST, result, result, {}});
  }
  if (role == 1) {
    const dnnl::convolution_backward_data::primitive_desc backward(
        Engine(), kDirect, source, kernel, result, c.Strides(), c.Dilations(), c.Before(),
        c.After(), forward, Attributes());
    return std::make_unique<Plan>(
        dnnl::convolution_backward_data(backward), backward.scratchpad_desc(),
        Operand{DNNL_ARG_DIFF_DST, result, result, {}},
        Operand{DNNL_ARG_WEIGHTS, plain, backward.weights_desc(), {}},
        Operand{DNNL_ARG_DIFF_SRC, source, source, {}});
  }
  const dnnl::convolution_backward_weights::primitive_desc backward(
      Engine(), kDirect, source, kernel, result, c.Strides(), c.Dilations(), c.Before(), c.After(),
      forward, Attributes());
  return std::make_unique<Plan>(
      dnnl::convolution_backward_weights(backward), backward.scratchpad_desc(),
      Operand{DNNL_ARG_SRC, source, source, {}}, Operand{DNNL_ARG_DIFF_DST, result, result, {}},
      Operand{DNNL_ARG_DIFF_WEIGHTS, plain, backward.diff_weights_desc(), {}});
}

// Rows of the left matrix, for each of the right one, from which on bringing that into blocks pays.
constexpr int64_t kBlockedRows = 2;

std::unique_ptr<Plan> MakeMatmul(Numbers n, ffi::DataType a, ffi::DataType b, ffi::DataType out) {
  const memory::desc left({n[0], n[1]}, Type(a), memory::dims{n[3], n[4]});
  const memory::desc right({n[1], n[2]}, Type(b), memory::dims{n[5], n[6]});
  // A kernel is brought into blocks, as of a convolution: several times as fast, for little.
  const bool blocks = n[0] >= kBlockedRows * n[1];
  const memory::desc used =
      blocks ? memory::desc({n[1], n[2]}, Type(b), memory::format_tag::any) : right;
  const memory::desc result({n[0], n[2]}, Type(out), memory::dims{n[7], n[8]});
  const dnnl::matmul::primitive_desc product(Engine(), left, used, result, Attributes());
  return std::make_unique<Plan>(dnnl::matmul(product), product.scratchpad_desc(),
                                Operand{DNNL_ARG_SRC, left, left, {}},
                                Operand{DNNL_ARG_WEIGHTS, right, product.weights_desc(), {}},
                                Operand{DNNL_ARG_DST, result, result, {}});
}

// The plan of a call, made when its numbers are met for the first time and then kept.
template <typename Make>
const Plan& Planned(int64_t role, Numbers numbers, ffi::DataType a, ffi::DataType b,
                    ffi::DataType out, Make make) {
  static std::mutex* mutex = new std::mutex;
  static auto* plans = new std::unordered_map<std::string, std::unique_ptr<Plan>>;
  std::string key(reinterpret_cast<const char*>(numbers.begin()), numbers.size() * sizeof(int64_t));
  for (int64_t part : {role, static_cast<int64_t>(a), static_cast<int64_t>(b),
                       static_cast<int64_t>(out)}) {
    key.append(reinterpret_cast<const char*>(&part), sizeof(part));
  }
  const std::lock_guard<std::mutex> lock(*mutex);
  std::unique_ptr<Plan>& plan = (*plans)[key];
  if (plan == nullptr) plan = make();
  return *plan;
}

template <typename Make>
ffi::Error Run(int64_t role, Numbers numbers, ffi::AnyBuffer& a, ffi::AnyBuffer& b,
               ffi::Result<ffi::AnyBuffer>& out, Make make) {
  try {
    Planned(role, numbers, a.element_type(), b.element_type(), out->element_type(), make)
        .Run(a.untyped_data(), b.untyped_data(), out->untyped_data());
  } catch (const dnnl::error& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "oneDNN: out of memory");
  }
  return ffi::Error::Success();
}

ffi::Error Convolve(int64_t role, Numbers numbers, ffi::AnyBuffer a, ffi::AnyBuffer b,
                    ffi::Result<ffi::AnyBuffer> out) {
  if (numbers.size() * sizeof(int64_t) != sizeof(Convolution)) {
    return ffi::Error::InvalidArgument("a convolution is described by 21 numbers");
  }
  return Run(role, numbers, a, b, out, [&] {
    const auto& convolution = *reinterpret_cast<const Convolution*>(numbers.begin());
    return MakeConvolution(role, convolution, a.element_type(), out->element_type());
  });
}

ffi::Error Multiply(Numbers numbers, ffi::AnyBuffer a, ffi::AnyBuffer b,
                    ffi::Result<ffi::AnyBuffer> out) {
  if (numbers.size() != 9) {
    return ffi::Error::InvalidArgument("a matrix product is described by 9 numbers");
  }
  return Run(-1, numbers, a, b, out, [&] {
    return MakeMatmul(numbers, a.element_type(), b.element_type(), out->element_type());
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(ZooConvolve, Convolve,
                              ffi::Ffi::Bind()
                                  .Attr<int64_t>("role")
                                  .Attr<Numbers>("numbers")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(ZooMultiply, Multiply,
                              ffi::Ffi::Bind()
                                  .Attr<Numbers>("numbers")
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

extern "C" const char* ZooOneDnnVersion() {
  static const std::string* text = [] {
    const dnnl_version_t* version = dnnl_version();
    return new std::string(std::to_string(version->major) + "." + std::to_string(version->minor) +
                           "." + std::to_string(version->patch));
  }();
  return text->c_str();
}
