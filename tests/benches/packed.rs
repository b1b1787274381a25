//! Payloads that compress, artifacts of them, and commands.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use thimble_core::hal::Compression;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

/// A command with arguments.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// A command of the shell.
pub(crate) fn shell(line: &str) -> Command {
    command("sh", &["-c", line])
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Half of its bits are random (xorshift of a fixed seed): it compresses about two to one, and holds no zeros.
pub(crate) fn write_payload(path: &Path, mib: usize) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).expect("the payload"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..mib * 1024 * 1024 / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&(state & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes()).expect("the payload");
    }
}

/// This program once more, to write an artifact: a child inherits the peak memory of the process that starts it, so
/// the one that measures must stay small. Its `main` begins with [`is_writer`].
pub(crate) fn writer(artifact: &Path, kind: &str, payload: &Path, compression: &str, tool: &str) -> Command {
    let program = std::env::current_exe().expect("this program");
    command(text(&program), &["write-artifact", text(artifact), kind, text(payload), compression, tool])
}

/// Whether this process was started by [`writer`]; then its work is done.
pub(crate) fn is_writer() -> bool {
    let args: Vec<String> = std::env::args().collect();
    let [_, verb, artifact, kind, payload, compression, tool] = args.as_slice() else { return false };
    if verb == "write-artifact" {
        write_artifact(Path::new(artifact), kind, Path::new(payload), compression, tool);
    }
    verb == "write-artifact"
}

/// Writes an artifact of one file, compressed by a tool that reads stdin and writes stdout.
fn write_artifact(artifact: &Path, kind: &str, payload: &Path, compression: &str, tool: &str) {
    let content = fs::read(payload).expect("the payload");
    let mut writer = ArtifactWriter::new("bench", kind, &["bench"]).file("payload", &content);
    let compression = match compression {
        "gzip" => Compression::Gzip,
        "xz" => Compression::Xz,
        "zstd" => Compression::Zstd,
        _ => Compression::None,
    };
    if compression != Compression::None {
        writer = writer.compress(compression, move |archive| {
            let scratch = artifact.with_extension("tar");
            fs::write(&scratch, archive).expect("a scratch file");
            shell(&format!("{tool} < {}", text(&scratch))).output().expect("the compressor").stdout
        });
    }
    fs::write(artifact, writer.build()).expect("the artifact");
}
