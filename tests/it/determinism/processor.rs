//! Processors that a child process pretends to have, by the switches of each library. They are set before its first
//! use.
//!
//! C libraries read the environment or a variable of their own. The Rust crates all ask std's
//! `is_x86_feature_detected!`, which has no switch: its findings are overwritten in memory, and then asked for, to see
//! that this worked.

use std::process::Command;

/// The features of the processor that a child may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Processor {
    /// x86-64 as of 2008: SSE4 and nothing newer, so also without fused multiply-add.
    Sse4,
    /// The least that the architecture allows; plain C where a library has it.
    Least,
}

impl Processor {
    pub const ALL: [Processor; 2] = [Processor::Sse4, Processor::Least];

    /// The place of the first case that it takes; after it comes every second one.
    pub fn turn(self) -> usize {
        Processor::ALL.iter().position(|other| *other == self).expect("one of all")
    }

    pub fn named(name: &str) -> Processor {
        Processor::ALL.into_iter().find(|processor| format!("{processor:?}") == name).expect("a name of ours")
    }

    /// Switches in the environment: those of libaom and of glibc, whose mathematical functions have variants.
    pub fn environment(self, command: &mut Command) {
        const GLIBC: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-BMI1,-BMI2,-ERMS,-AVX512F,-AVX512VL,-AVX512BW";
        let pairs: &[(&str, &str)] = match self {
            // libaom's mask is MMX to SSE4.1 and SSE4.2.
            Processor::Sse4 => &[("AOM_SIMD_CAPS_MASK", "0x13f"), ("GLIBC_TUNABLES", GLIBC)],
            Processor::Least => &[("AOM_SIMD_CAPS_MASK", "0"), ("GLIBC_TUNABLES", GLIBC)],
        };
        command.envs(pairs.iter().copied());
    }

    /// Switches inside this process, before the first render and without other threads. `false`: std's findings could
    /// not be changed, so the Rust crates run as always.
    pub fn assume(self) -> bool {
        // dav1d's flags: SSE2, SSSE3 and SSE4.1 are the lowest three.
        let rav1d = if self == Processor::Sse4 { 0b111 } else { 0 };
        re_rav1d::src::cpu::rav1d_set_cpu_flags_mask(rav1d);
        #[cfg(target_arch = "x86_64")]
        return x86::assume(self);
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::ffi::c_int;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Processor;

    type Answer = unsafe extern "C" fn(c_int) -> c_int;

    unsafe extern "C" {
        /// libwebp's test for a feature; null is plain C ("can be set for testing purposes", `dsp/cpu.c`).
        static mut VP8GetCPUInfo: Option<Answer>;
    }

    /// libwebp's kSSE2, kSSE3, kSlowSSSE3 and kSSE4_1 are 0 to 3; AVX and AVX2 follow.
    unsafe extern "C" fn up_to_sse4(feature: c_int) -> c_int {
        c_int::from((0..=3).contains(&feature))
    }

    pub fn assume(processor: Processor) -> bool {
        let answer = if processor == Processor::Sse4 { Some(up_to_sse4 as Answer) } else { None };
        // SAFETY: only one thread of this process has used libwebp so far; the type is that of `dsp/cpu.h`.
        unsafe { VP8GetCPUInfo = answer };
        narrow_std(processor)
    }

    /// The findings of `is_x86_feature_detected!`: three words of bits in the order of its features, the oldest in the
    /// lowest bits of the first word. The highest bit of each word says that it is filled.
    fn narrow_std(processor: Processor) -> bool {
        const FILLED: u64 = 1 << 63;
        // Fills the words.
        let newest = std::is_x86_feature_detected!("avx");
        let Some(address) = address_of("std_detect6detect5cache5CACHE") else { return false };
        // SAFETY: the symbol is a static of three atomic words, alive for ever and only used through atomics.
        let words = unsafe { &*(address as *const [AtomicU64; 3]) };
        let found = words[0].load(Ordering::Relaxed);
        if words.iter().any(|word| word.load(Ordering::Relaxed) & FILLED == 0) {
            return false;
        }
        words[1].store(FILLED, Ordering::Relaxed);
        words[2].store(FILLED, Ordering::Relaxed);
        // Features newer than SSE4 come after it, so bits are cleared from the top until AVX is gone.
        let mut kept = if processor == Processor::Sse4 { 63 } else { 0 };
        loop {
            words[0].store(found & ((1 << kept) - 1) | FILLED, Ordering::Relaxed);
            if kept == 0 || !std::is_x86_feature_detected!("avx") {
                break;
            }
            kept -= 1;
        }
        let sse4 = std::is_x86_feature_detected!("sse4.1");
        let avx = std::is_x86_feature_detected!("avx") || std::is_x86_feature_detected!("fma");
        !avx && (sse4 == (processor == Processor::Sse4) || !newest)
    }

    /// The address of the one symbol of this program whose name contains `part`, by its own symbol table.
    fn address_of(part: &str) -> Option<usize> {
        let file = std::fs::read(std::env::current_exe().ok()?).ok()?;
        let symbols = symbols(&file)?;
        let value = |part: &str| symbols.iter().find(|(name, _)| name.contains(part)).map(|(_, value)| *value);
        // The program was moved as a whole, so a symbol of known address gives the distance.
        let moved = (&raw const VP8GetCPUInfo as usize).wrapping_sub(value("VP8GetCPUInfo")?);
        Some(value(part)?.wrapping_add(moved))
    }

    /// Names and values of ELF's symbol table (64 bits, little-endian).
    fn symbols(file: &[u8]) -> Option<Vec<(&str, usize)>> {
        const SYMBOL_TABLE: usize = 2;
        let number = |at: usize, bytes: usize| {
            let field = file.get(at..at + bytes)?;
            Some(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
        };
        let section = |index: usize| Some(number(0x28, 8)? + index * number(0x3a, 2)?);
        let table =
            (0..number(0x3c, 2)?).filter_map(section).find(|header| number(header + 4, 4) == Some(SYMBOL_TABLE))?;
        let names = number(section(number(table + 0x28, 4)?)? + 0x18, 8)?;
        let (start, length) = (number(table + 0x18, 8)?, number(table + 0x20, 8)?);
        let symbol = |at: usize| {
            let name = file.get(names + number(at, 4)?..)?.split(|byte| *byte == 0).next()?;
            Some((std::str::from_utf8(name).ok()?, number(at + 8, 8)?))
        };
        Some((start..start + length).step_by(24).filter_map(symbol).collect())
    }
}
