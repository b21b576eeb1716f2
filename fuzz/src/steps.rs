//! Programs of small steps: what the targets with a state run. Every byte string is a program, a changed byte changes one step, and
//! seeds can be written by hand, which a derived decoder of nested types would not allow.

/// One step: what to do, and three numbers whose meaning depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub what: u8,
    /// First number.
    pub a: u8,
    /// Second number.
    pub b: u8,
    /// Third number.
    pub c: u8,
}

/// Bytes of a step.
pub const STEP_LEN: usize = 4;

/// Longest program that is run. Each target takes as many steps of it as it can afford; a longer one would only be slower to mutate.
pub const PROGRAM_LEN_MAX: usize = 256;

/// The steps in some bytes, at most `max`; what is left behind the last whole one says nothing.
pub fn steps(bytes: &[u8], max: usize) -> impl Iterator<Item = Step> {
    let chunks = bytes.as_chunks::<STEP_LEN>().0.iter().take(max);
    chunks.map(|&[what, a, b, c]| Step { what, a, b, c })
}

/// The bytes of a program.
pub fn program(steps: &[[u8; STEP_LEN]]) -> Vec<u8> {
    steps.as_flattened().to_vec()
}

/// A small generator, for what one number is to decide many times over (Marsaglia's xorshift64, 2003).
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator that three bytes choose.
    pub const fn of(step: Step) -> Self {
        // Any constant but zero: from a state of zero the generator never leaves it.
        Self(0x9e37_79b9_7f4a_7c15 ^ u64::from_be_bytes([0, 0, 0, 0, 0, step.a, step.b, step.c]))
    }

    /// The next number below `n`.
    pub const fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
