// All kernels for the host, and what the Rust side calls.
#include "../../cuda/all.cu"

// Runs a kernel; 1 if there is none of that name, 2 if its block is no whole number of warps, 3 if a lane waits for ever.
extern "C" int flow_emulator_launch(const char* name, const u32* grid, u32 threads, u32 shared_bytes, void** arguments, int no_barriers) {
    const auto found = emu::kernels().find(name);
    if (found == emu::kernels().end()) return 1;
    if (threads % 32 != 0) return 2;
    const emu::Kernel kernel = found->second;
    emu::block_dim = {threads, 1, 1};
    emu::grid_dim = {grid[0], grid[1], grid[2]};
    emu::body = kernel.run, emu::body_kernel = kernel.function, emu::body_arguments = arguments;
    emu::no_barriers = no_barriers != 0;
    for (u32 z = 0; z < grid[2]; z++)
        for (u32 y = 0; y < grid[1]; y++)
            for (u32 x = 0; x < grid[0]; x++) {
                emu::block_at = {x, y, z};
                if (kernel.cooperative) {
                    emu::shared.assign(shared_bytes / 4 + 1, NAN);
                    if (!emu::run_block(threads)) return 3;
                } else {
                    for (u32 i = 0; i < threads; i++) {
                        emu::thread_at = {i, 0, 0};
                        kernel.run(kernel.function, arguments);
                    }
                }
            }
    return 0;
}

// The bytes of each of a kernel's arguments; how many it has, or -1 if there is none of that name.
extern "C" int flow_emulator_arguments(const char* name, size_t* sizes, int most) {
    const auto found = emu::kernels().find(name);
    if (found == emu::kernels().end() || (int)found->second.sizes.size() > most) return -1;
    std::copy(found->second.sizes.begin(), found->second.sizes.end(), sizes);
    return (int)found->second.sizes.size();
}
