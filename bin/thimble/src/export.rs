//! `export-mender`: the way back to Mender's own client.

use thimble_hal_linux::storage::Exported;

use crate::args::Invocation;
use crate::device::Device;
use crate::output::{Failure, one_line, print};

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    if device.was_never_used()? {
        return Err(Failure::new(
            "there is no datastore, and so nothing that Mender's client could go on with",
        ));
    }
    let _lock = device.lock(invocation.verb)?;
    let Exported { name, provides } = device.store()?.export().map_err(Failure::new)?;
    let name = name.map_or_else(
        || "no artifact name (none is on record, and that client takes its image's)".to_owned(),
        |name| format!("artifact name \"{}\"", one_line(&name)),
    );
    let others = match provides {
        0 => String::new(),
        1 => " and 1 more of what is provided".to_owned(),
        more => format!(" and {more} more of what is provided"),
    };
    print(&format!(
        "Mender's client can go on from here: {name}{others} in {}.\n",
        device.paths.datastore().join("mender-store").display()
    ))
}
