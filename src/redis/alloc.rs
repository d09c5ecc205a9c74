//! Memory from the server, so that it counts in `INFO memory` and against `maxmemory`.
//!
//! The choice is made once per process. In the server, `RM_Init` runs before this library's first
//! allocation, so everything comes from the server. Elsewhere (`cargo test`, `geoctl`) its functions stay
//! absent, so everything comes from the system. No block can be freed by the other side.

use std::alloc::{GlobalAlloc, Layout, System};

use redis_module::raw;

/// What any allocator below the server guarantees: with a size header in front (musl) it is a word.
const GUARANTEED: usize = 8;

pub struct ServerAlloc;

#[global_allocator]
static ALLOCATOR: ServerAlloc = ServerAlloc;

/// Takes room for the alignment, and for the address of the block in front of what is handed out.
unsafe fn alloc_aligned(allocate: impl Fn(usize) -> *mut u8, layout: Layout) -> *mut u8 {
    let Some(room) = layout.size().checked_add(layout.align()) else {
        return std::ptr::null_mut();
    };
    let block = allocate(room);
    if block.is_null() {
        return block;
    }
    let offset = layout.align() - (block as usize & (layout.align() - 1));
    // SAFETY: the block is aligned to GUARANTEED, so GUARANTEED <= offset <= align: the word before `start`
    // and `size` bytes after it lie inside the block.
    unsafe {
        let start = block.add(offset);
        start.cast::<*mut u8>().sub(1).write(block);
        start
    }
}

/// # Safety
/// `start` came from [`alloc_aligned`].
unsafe fn block_of(start: *mut u8) -> *mut u8 {
    unsafe { start.cast::<*mut u8>().sub(1).read() }
}

// SAFETY: the server's functions satisfy malloc's contract; alignments beyond it are made by hand.
unsafe impl GlobalAlloc for ServerAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe {
            match raw::RedisModule_Alloc {
                None => System.alloc(layout),
                Some(alloc) if layout.align() <= GUARANTEED => alloc(layout.size()).cast(),
                Some(alloc) => alloc_aligned(|room| alloc(room).cast(), layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe {
            match raw::RedisModule_Calloc {
                None => System.alloc_zeroed(layout),
                Some(calloc) if layout.align() <= GUARANTEED => calloc(1, layout.size()).cast(),
                Some(calloc) => alloc_aligned(|room| calloc(1, room).cast(), layout),
            }
        }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        unsafe {
            match raw::RedisModule_Free {
                None => System.dealloc(start, layout),
                Some(free) if layout.align() <= GUARANTEED => free(start.cast()),
                Some(free) => free(block_of(start).cast()),
            }
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            match raw::RedisModule_Realloc {
                None => System.realloc(start, layout, size),
                Some(realloc) if layout.align() <= GUARANTEED => realloc(start.cast(), size).cast(),
                Some(_) => {
                    let fresh = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !fresh.is_null() {
                        fresh.copy_from_nonoverlapping(start, layout.size().min(size));
                        self.dealloc(start, layout);
                    }
                    fresh
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_aligned_blocks_are_aligned_and_freed_by_their_own_address() {
        for align in [16usize, 64, 128, 4096] {
            let layout = Layout::from_size_align(100, align).unwrap();
            let word = Layout::from_size_align(layout.size() + align, GUARANTEED).unwrap();
            unsafe {
                let start = alloc_aligned(|_| System.alloc(word), layout);
                assert_eq!(start as usize % align, 0);
                start.write_bytes(0xff, layout.size());
                System.dealloc(block_of(start), word);
            }
        }
    }

    #[test]
    fn without_a_server_the_system_allocates() {
        assert!(unsafe { raw::RedisModule_Alloc }.is_none());
        let values: Vec<u128> = (0..1000).collect();
        assert_eq!(values.iter().sum::<u128>(), 499_500);
    }
}
