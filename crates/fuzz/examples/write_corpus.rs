//! Writes the committed corpora: `cargo run -p alys-fuzz --example write_corpus`.

use alys_fuzz::{TARGETS, seeds};
use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, _) in TARGETS {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds::of(target) {
            fs::write(folder.join(name), bytes)?;
        }
        println!("{}", folder.display());
    }
    Ok(())
}
