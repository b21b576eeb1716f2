//! Canaries: deliberate one-line faults in production code, one for each checker of the simulator, which must catch it by its own id.
//!
//! They sing only in a build with the feature `canary`, which nothing that ships enables. Without it [`sings`] is the constant
//! `false`, and the compiler removes the line.

/// A fault, named after the invariant whose checker must notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Whether an operation is valid depends on what other logs hold by then.
    Crdt1,
    /// The count of operations is off.
    Crdt2,
    /// Strangers are let in.
    Crdt3,
    /// Nothing of a forked author goes.
    Crdt4,
    /// Quotas do not count.
    Crdt5,
    /// A refusal forgets everything.
    Crdt6,
    /// Everything is forgotten once in a while.
    Crdt7,
    /// What is certified goes with its author.
    Cert1,
    /// Half of the weight is enough for a certificate.
    Cert2,
    /// A member signs heads that it does not hold.
    Cert4,
    /// Certificates are thrown away.
    Cert5,
    /// Nobody is asked for anything.
    Sync1,
    /// Some operations are taken for known ones.
    Sync2,
    /// Proofs convict nobody.
    Sync3,
    /// What waits is not bounded.
    Sync4,
    /// Every answer is given twice.
    Sync5,
    /// After a minute nobody writes.
    Sync6,
    /// An oracle counts twice.
    Oracle1,
    /// The price is twice what it should be.
    Oracle2,
    /// The interval is only the price.
    Oracle3,
    /// No answer is too old.
    Oracle4,
    /// Any number of sources is enough.
    Oracle5,
    /// Own operations are told before they are durable.
    Store1,
    /// Foreign operations are not written.
    Store2,
    /// Rows are not held against their checksums.
    Store3,
    /// A node that must recover appends at once.
    Node1,
    /// Every fault costs all patience.
    Net2,
    /// Bytes that are no frame are a panic.
    Core1,
}

#[cfg(feature = "canary")]
thread_local! {
    static SINGING: std::cell::Cell<Option<Canary>> = const { std::cell::Cell::new(None) };
}

/// Whether this fault is on, in this thread.
#[cfg(feature = "canary")]
pub fn sings(canary: Canary) -> bool {
    SINGING.get() == Some(canary)
}

/// Whether this fault is on: never, in this build.
#[cfg(not(feature = "canary"))]
pub const fn sings(_: Canary) -> bool {
    false
}

/// Switches a fault on in this thread, or all off.
#[cfg(feature = "canary")]
pub fn release(canary: Option<Canary>) {
    SINGING.set(canary);
}
