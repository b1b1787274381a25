//! What the device tells of itself: the outputs of the programs in `inventory`.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;

use thimble_core::hal::{ErrorType, Inventory, Level};
use thimble_core::limits;
use thimble_core::time::Instant;

use super::{AgentError, INVENTORY, Program};
use crate::SharedLog;
use crate::trust::{Fault, Untrusted, check_program, fault_of_program};
use crate::wait::PollSet;

/// How the names of inventory programs begin.
const PREFIX: &str = "mender-inventory-";

/// Programs that are looked at for [`inventory_faults`].
const MOST_LOOKED_AT: usize = 4096;

/// The inventory of a device that runs Linux.
pub struct DeviceInventory {
    dir: PathBuf,
    pub(super) program: Program,
    /// Programs that have not run yet, in reverse order: the next one is the last element.
    waiting: Vec<PathBuf>,
    outputs: Vec<(String, Vec<u8>)>,
}

impl DeviceInventory {
    /// Of the programs below `data`. Starts nothing.
    #[must_use]
    pub fn new(data: &Path, log: SharedLog) -> Self {
        Self {
            dir: data.join("inventory"),
            program: Program::new(log),
            waiting: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        self.program.wants(set);
    }

    fn left_out(&self, error: &AgentError) {
        self.program.log.borrow_mut().log(Level::Warning, format_args!("left out of the inventory: {error}"));
    }
}

impl ErrorType for DeviceInventory {
    type Error = AgentError;
}

impl Inventory for DeviceInventory {
    fn start(&mut self, _now: Instant) -> Result<(), AgentError> {
        self.cancel();

        self.waiting = match programs(&self.dir) {
            Ok(programs) => programs,
            Err(error) => {
                self.left_out(&AgentError::List(self.dir.clone(), error));
                Vec::new()
            }
        };
        self.waiting.reverse();
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Poll<()> {
        loop {
            if let Some(name) = self.program.running.as_ref().map(|running| running.name.clone()) {
                match self.program.poll_output(now, limits::INVENTORY_SCRIPT) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(output)) => {
                        let total: usize = self.outputs.iter().map(|(_, output)| output.len()).sum();
                        if total.saturating_add(output.len()) > INVENTORY {
                            self.left_out(&AgentError::TooMuch);
                        } else {
                            self.outputs.push((name, output));
                        }
                    }
                    Poll::Ready(Err(error)) => self.left_out(&error),
                }
            }
            let Some(path) = self.waiting.pop() else { return Poll::Ready(()) };
            match self.program.start(now, &path, limits::INVENTORY_SCRIPT) {
                Ok(()) => {}
                // The owner switches a program off by taking its execute bits away: no warning.
                Err(AgentError::Untrusted(Untrusted::NotExecutable(_) | Untrusted::NotRegular(_))) => {}
                Err(error) => self.left_out(&error),
            }
        }
    }

    fn output(&self, index: usize) -> Option<(&str, &[u8])> {
        self.outputs.get(index).map(|(name, output)| (name.as_str(), output.as_slice()))
    }

    /// Also frees the memory of the outputs.
    fn cancel(&mut self) {
        self.program.running = None;
        self.waiting = Vec::new();
        self.outputs = Vec::new();
    }

    fn deadline(&self) -> Option<Instant> {
        self.program.deadline()
    }
}

/// What is wrong with the inventory programs below `data`, as the client finds out when it starts them. One whose execute bits were
/// taken away is switched off.
#[must_use]
pub fn inventory_faults(data: &Path) -> Vec<Fault> {
    let dir = data.join("inventory");
    let programs = match programs(&dir) {
        Ok(programs) => programs,
        Err(error) => {
            let text = AgentError::List(dir, error).to_string();
            return vec![Fault { text, mend: "make it a directory that root may read" }];
        }
    };
    let faults = programs.iter().take(MOST_LOOKED_AT).filter_map(|program| match check_program(program) {
        Err(Untrusted::NotExecutable(_) | Untrusted::NotRegular(_)) => None,
        Ok(()) | Err(Untrusted::Owner(..) | Untrusted::Writable(..) | Untrusted::Io(..)) => {
            fault_of_program(program)
        }
    });
    faults.collect()
}

/// The inventory programs by name (L18). A missing directory means no programs.
fn programs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if is_inventory(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

fn is_inventory(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}
