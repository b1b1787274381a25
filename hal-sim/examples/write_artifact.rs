//! Writes a small Mender artifact, where `mender-artifact` is not at hand:
//!
//! ```text
//! write_artifact OUT NAME PAYLOAD_TYPE DEVICE_TYPE PAYLOAD_FILE [STATE_SCRIPT]...
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

use thimble_hal_sim::artifact_writer::ArtifactWriter;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, name, payload_type, device_type, payload, scripts @ ..] = args.as_slice() else {
        return Err("arguments: OUT NAME PAYLOAD_TYPE DEVICE_TYPE PAYLOAD_FILE [STATE_SCRIPT]...".into());
    };
    let mut artifact = ArtifactWriter::new(name, payload_type, &[device_type]);
    artifact = artifact.file(file_name(payload)?, &fs::read(payload)?);
    for script in scripts {
        artifact = artifact.script(file_name(script)?, &fs::read(script)?);
    }
    fs::write(out, artifact.build())?;
    Ok(())
}

fn file_name(path: &str) -> Result<&str, Box<dyn Error>> {
    Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| format!("no file name: {path}").into())
}
