//! Writes the seeds into `corpus/`: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`, after the bytes of anything have changed.

use concurrence_fuzz::seeds;

fn main() -> std::io::Result<()> {
    for seed in seeds::all() {
        let path = seed.path();
        std::fs::create_dir_all(path.parent().expect("a seed lies in its target's folder"))?;
        std::fs::write(path, seed.bytes)?;
    }
    Ok(())
}
