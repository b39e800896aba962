//! An array map of the kernel in the memory of this process (`BPF_F_MMAPABLE`).

use std::ffi::c_void;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A mapped array of values that the XDP programs, the agent and other workers change at any time.
pub(crate) struct Mapped<T> {
    memory: NonNull<c_void>,
    bytes: NonZeroUsize,
    len: u32,
    values: PhantomData<T>,
}

/// A value in a map, accessed word by word with atomic instructions.
pub(crate) struct Entry<'map, T> {
    value: NonNull<T>,
    map: PhantomData<&'map Mapped<T>>,
}

// SAFETY: the memory is this value's own, and is accessed with atomic instructions only, or by those whose turn it is
// (`Entry::bytes`).
unsafe impl<T: gateway_common::Pod> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: gateway_common::Pod> Sync for Mapped<T> {}

impl<T: gateway_common::Pod> Mapped<T> {
    /// Maps the array that is pinned as `name` in `directory`, for writing too if `write`.
    ///
    /// # Errors
    /// There is no such map, its values have another size, or the kernel refuses.
    pub(crate) fn open(directory: &Path, name: &str, write: bool) -> Result<Self> {
        let path = directory.join(name);
        let data = MapData::from_pin(&path).with_context(|| format!("cannot open map {}", path.display()))?;
        Self::of(&data, name, write)
    }

    /// Maps the array `data`, which is called `name`, for writing too if `write`.
    ///
    /// # Errors
    /// Its values have another size, or the kernel refuses.
    pub(crate) fn of(data: &MapData, name: &str, write: bool) -> Result<Self> {
        let info = data.info()?;
        ensure!(
            info.value_size() as usize == size_of::<T>(),
            "values of map {name} have {} bytes, not {}: the agent is another version",
            info.value_size(),
            size_of::<T>()
        );
        let len = info.max_entries();
        // The kernel lays values out at multiples of eight bytes (`array_map_alloc`, kernel/bpf/arraymap.c).
        let bytes = NonZeroUsize::new(size_of::<T>().next_multiple_of(8) * len as usize)
            .with_context(|| format!("map {name} is empty"))?;
        let protection =
            if write { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
        let memory = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, data.fd().as_fd(), 0) }
            .with_context(|| format!("cannot map {name} into memory"))?;
        Ok(Self { memory, bytes, len, values: PhantomData })
    }

    /// Memory of `len` zero values that no map stands behind.
    #[cfg(test)]
    pub(crate) fn anonymous(len: u32) -> Self {
        let bytes = NonZeroUsize::new(size_of::<T>().next_multiple_of(8) * len as usize).unwrap();
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: as above.
        let memory = unsafe { nix::sys::mman::mmap_anonymous(None, bytes, protection, MapFlags::MAP_SHARED) };
        Self { memory: memory.unwrap(), bytes, len, values: PhantomData }
    }

    /// Number of values.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The value at `index`.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<Entry<'_, T>> {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() >= 8) };
        if index >= self.len {
            return None;
        }
        // SAFETY: within the mapping, whose values lie side by side: their size is a multiple of eight.
        let value = unsafe { self.memory.cast::<T>().add(index as usize) };
        Some(Entry { value, map: PhantomData })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by this value; entries borrow from it. A failure would change nothing.
        let _ = unsafe { munmap(self.memory, self.bytes.get()) };
    }
}

impl<T> Clone for Entry<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Entry<'_, T> {}

impl<'map, T> Entry<'map, T> {
    /// The 64-bit word at byte `offset` of the value, from `offset_of!`. A map that was opened without `write` allows loads
    /// only.
    #[inline(always)]
    pub(crate) fn word(self, offset: usize) -> &'map AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<T>());
        // SAFETY: aligned and within the value, which is mapped for `'map` and holds integers; everyone who shares it accesses
        // it in words.
        unsafe { AtomicU64::from_ptr(self.value.as_ptr().byte_add(offset).cast()) }
    }

    /// The 32-bit word at byte `offset` of the value; as [`Self::word`].
    #[inline(always)]
    pub(crate) fn half(self, offset: usize) -> &'map AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= size_of::<T>());
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.value.as_ptr().byte_add(offset).cast()) }
    }

    /// The byte at `offset` of the value. What lies there may change at any time, unless the parties have agreed otherwise.
    #[inline(always)]
    pub(crate) fn bytes(self, offset: usize) -> *mut u8 {
        assert!(offset < size_of::<T>());
        // SAFETY: within the value.
        unsafe { self.value.as_ptr().byte_add(offset).cast() }
    }

    /// The value, read word by word: one that is being changed may come out half as it was.
    #[inline]
    pub(crate) fn load(self) -> T
    where
        T: gateway_common::Pod,
    {
        let mut value = std::mem::MaybeUninit::<T>::uninit();
        for index in 0..size_of::<T>() / 8 {
            let word = self.word(8 * index).load(std::sync::atomic::Ordering::Acquire);
            // SAFETY: within `value`, whose size is a multiple of eight and whose alignment is no less.
            unsafe { value.as_mut_ptr().cast::<u64>().add(index).write(word) };
        }
        // SAFETY: every word was written, and every bit pattern is a value.
        unsafe { value.assume_init() }
    }

    /// Writes the value as the agent does: word by word, all but at once.
    #[cfg(test)]
    pub(crate) fn store(self, value: &T)
    where
        T: gateway_common::Pod,
    {
        // SAFETY: the size is a multiple of eight, the alignment no less, and there is no padding.
        let words = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u64>(), size_of::<T>() / 8)
        };
        for (index, word) in words.iter().enumerate() {
            self.word(8 * index).store(*word, std::sync::atomic::Ordering::Release);
        }
    }
}
