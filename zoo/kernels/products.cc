// Convolutions and matrix products by oneDNN, as custom calls of XLA on a processor.
//
// Images are [batch, height, width, channel] as XLA has them; kernels are brought into the blocked
// layout that oneDNN chooses, and kernel gradients back out of it, inside the call.
//
// A product may carry what its layer does to the result, which spares the memory a round trip:
// forward a bias and a leaky ReLU, backward the derivative of one and the gradient of its bias.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "plans.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dnnl::memory;
using Numbers = ffi::Span<const int64_t>;

namespace zoo {
namespace {

// One product as a whole; oneDNN shares it among the threads.
void Run(const Shape& shape, void* left, void* right, void* bias, void* out) {
  const Plan& plan = Planned(shape, omp_get_max_threads());
  thread_local Arena arena;
  char* room = arena.Reserve(plan.right.Bytes() + plan.Room());
  const memory used = plan.Right(Stream(), right, room);
  plan.Execute(Stream(), left, used, bias, out, room + plan.right.Bytes());
}

// bfloat16 is the upper half of a float32.
float Widened(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}
float Widened(float value) { return value; }

void Narrow(float value, float& out) { out = value; }
void Narrow(float value, uint16_t& out) {  // to nearest, ties to even; NaN stays NaN
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  out = static_cast<uint16_t>(value != value ? (bits >> 16) | 0x40 : rounded);
}

// Multiplies rows of `values` by the derivative at `gate`, and adds them up by column.
template <typename Number>
void Gate(Number* values, const Number* gate, int64_t rows, int64_t columns, Activation phi,
          float* sums) {
  const float low = phi.scale * phi.slope;
  for (int64_t row = 0; row < rows; ++row, values += columns, gate += columns) {
#pragma omp simd
    for (int64_t i = 0; i < columns; ++i) {
      const float value = Widened(values[i]) * (Widened(gate[i]) > 0 ? phi.scale : low);
      Narrow(value, values[i]);
      sums[i] += value;
    }
  }
}

// Bytes of a result and its gate that a core's own cache holds besides what they are made from.
constexpr int64_t kPartBytes = 384 << 10;

// The largest divisor of `batch` whose share of `bytes` stays in the cache.
int64_t PartOf(int64_t batch, int64_t bytes) {
  int64_t part = std::clamp<int64_t>(kPartBytes * batch / std::max<int64_t>(bytes, 1), 1, batch);
  while (batch % part != 0) --part;
  return part;
}

// A product times the derivative of the activation below it, in parts of the batch that stay in the
// cache between the two; each part is one thread's.
template <typename Number>
void RunGated(Shape shape, char* left, void* right, const Number* gate, Number* out, float* sums,
              int64_t left_size, int64_t size, int64_t columns, Activation phi) {
  const int64_t batch = shape.Batch();
  const int64_t part = PartOf(batch, 2 * size * static_cast<int64_t>(sizeof(Number)));
  shape.Batch() = part;
  const Plan& plan = Planned(shape, 1);
  thread_local Arena kernel_arena;
  const memory used = plan.Right(Stream(), right, kernel_arena.Reserve(plan.right.Bytes()));
  const int64_t parts = batch / part, step = size / parts;
  const int64_t left_step = left_size / parts * static_cast<int64_t>(sizeof(Number));
  std::vector<float> partial(parts * columns, 0.0f);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < parts; ++i) {
    thread_local Arena arena;
    Number* values = out + i * step;
    plan.Execute(Stream(), left + i * left_step, used, nullptr, values,
                 arena.Reserve(plan.Room()));
    Gate(values, gate + i * step, step / columns, columns, phi, &partial[i * columns]);
  }
  for (int64_t column = 0; column < columns; ++column) {
    double sum = 0;
    for (int64_t i = 0; i < parts; ++i) sum += partial[i * columns + column];
    sums[column] = static_cast<float>(sum);
  }
}

memory::data_type Type(const ffi::AnyBuffer& buffer) {
  return buffer.element_type() == ffi::DataType::BF16 ? memory::data_type::bf16 : kFloat;
}

int64_t Size(const ffi::AnyBuffer& buffer) { return buffer.element_count(); }

// Arguments: the two factors; then nothing, or a bias, or a gate. Results: the product, and behind a
// gate the sums.
ffi::Error Multiply(int64_t role, Numbers numbers, float slope, float scale,
                    ffi::RemainingArgs args, ffi::RemainingRets rets) {
  Shape shape;
  std::memset(&shape, 0, sizeof(shape));
  shape.role = role;
  const size_t bytes = numbers.size() * sizeof(int64_t);
  if (bytes != (role == kMatrix ? sizeof(Matrices) : sizeof(Convolution))) {
    return ffi::Error::InvalidArgument("a product is described by other numbers");
  }
  std::memcpy(role == kMatrix ? static_cast<void*>(&shape.matrices) : &shape.convolution,
              numbers.begin(), bytes);
  ffi::AnyBuffer left = *args.get<ffi::AnyBuffer>(0), right = *args.get<ffi::AnyBuffer>(1);
  ffi::AnyBuffer out = **rets.get<ffi::AnyBuffer>(0);
  shape.in = Type(left);
  shape.out = Type(out);
  const Activation phi{slope, scale};
  void* third = args.size() > 2 ? args.get<ffi::AnyBuffer>(2)->untyped_data() : nullptr;
  try {
    if (rets.size() == 1) {
      shape.has_bias = third != nullptr;
      if (shape.has_bias) shape.activation = phi;
      Run(shape, left.untyped_data(), right.untyped_data(), third, out.untyped_data());
      return ffi::Error::Success();
    }
    float* sums = static_cast<float*>((*rets.get<ffi::AnyBuffer>(1))->untyped_data());
    const int64_t columns = Size(**rets.get<ffi::AnyBuffer>(1));
    auto run = [&](auto* data) {
      RunGated(shape, static_cast<char*>(left.untyped_data()), right.untyped_data(),
               static_cast<decltype(data)>(third), data, sums, Size(left), Size(out), columns, phi);
    };
    if (shape.out == kFloat) {
      run(static_cast<float*>(out.untyped_data()));
    } else {
      run(static_cast<uint16_t*>(out.untyped_data()));
    }
  } catch (const dnnl::error& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "oneDNN: out of memory");
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace zoo

XLA_FFI_DEFINE_HANDLER_SYMBOL(ZooMultiply, zoo::Multiply,
                              ffi::Ffi::Bind()
                                  .Attr<int64_t>("role")
                                  .Attr<Numbers>("numbers")
                                  .Attr<float>("slope")
                                  .Attr<float>("scale")
                                  .RemainingArgs()
                                  .RemainingRets());

extern "C" const char* ZooOneDnnVersion() {
  static const std::string* text = [] {
    const dnnl_version_t* version = dnnl_version();
    return new std::string(std::to_string(version->major) + "." + std::to_string(version->minor) +
                           "." + std::to_string(version->patch));
  }();
  return text->c_str();
}
