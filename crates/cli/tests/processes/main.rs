//! Real, separate nodes from configuration files: they cannot be broken by killing, cutting off or lying.

mod explained;
mod flood;
mod harness;
mod intruder;
mod lab;
mod proxy;
mod recorder;

mod four_nodes;
mod guide;
mod kills;
mod namespaces;
mod one_key_twice;
mod refusals;
mod sources;
