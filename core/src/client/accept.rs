//! An artifact whose header is verified: whether it may be installed here, and what is made ready for it.

use super::Client;
use super::messages::{RecordText, say};
use super::reason::{Noted, note};
use crate::artifact::{accept, provides};
use crate::flow::Event;
use crate::hal::{
    Cause, Error as _, Key, Kind, Level, Platform, ScriptRunner, Storage, System, TreeFacts, UpdateModule,
};
use crate::limits;
use crate::machine::Run;
use crate::message::Coded;
use crate::text::{Text, TextExt};
use crate::transfer::Accepted;

impl<P: Platform> Client<'_, P> {
    /// The header is verified: is this artifact for this device, and can it be installed? Then its scripts are
    /// published, its module selected and the work tree built. `again`: it is the artifact that an earlier process
    /// downloaded from, as far as the server says.
    #[inline(never)]
    pub(super) fn accept(&mut self, again: bool) -> Result<Event, Noted> {
        let mut noted = |reason: &dyn Coded| note(&mut self.story, &mut self.hal.log, reason);
        let run = self.flow.machine().run();
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = match self.hal.system.device_type(&mut device_type) {
            Ok(device_type) => Some(device_type),
            // The bootstrap artifact may come before the device type does.
            Err(error) if run == Run::Bootstrap && error.kind() == Kind::NotFound => None,
            Err(error) => return Err(noted(&Cause::of(&error))),
        };
        let (header, scratch) =
            self.parser.header_and_scratch().ok_or_else(|| noted(&RecordText::NoHeader))?;
        let (record, out) = self.lent.free();
        let installed = self.hal.storage.read(Key::Provides, record);
        let installed =
            installed.map_err(|error| noted(&RecordText::Installed { error: Cause::of(&error) }))?;
        let installed = installed.unwrap_or(b"{}");
        let deployment = (run == Run::Daemon).then(|| accept::Deployment {
            artifact_name: self.requests.offered.artifact_name(),
            fits_device: self.requests.offered.fits_device(),
            tier: self.device.tier,
        });
        let facts = accept::Facts { device_type, installed, deployment };
        let payload = accept::judge(&header, &facts, out, scratch).map_err(|error| noted(&error))?;
        let header = self.parser.header().ok_or_else(|| noted(&RecordText::NoHeader))?;
        let (mut name, mut kind) = ([0; limits::NAME], [0; limits::PAYLOAD_TYPE]);
        let name = header.artifact_name(&mut name);
        say(&mut self.hal.log, Level::Info, &RecordText::ForThisDevice { name });

        let mut noted = |reason: &dyn Coded| note(&mut self.story, &mut self.hal.log, reason);
        let kind = match payload {
            accept::Payload::ForModule => header.payload_type(&mut kind).unwrap_or_default(),
            accept::Payload::None => {
                if self.flow.goes_on() {
                    self.remove_tree();
                }
                return Ok(Event::Accepted { accepted: Accepted::NoPayload, same_header: false });
            }
        };
        let selected = self.hal.module.select(kind);
        selected.map_err(|error| noted(&RecordText::PayloadType { kind, error: Cause::of(&error) }))?;
        let mut is_stored = |key, fresh: &[u8]| matches!(self.hal.storage.read(key, out), Ok(Some(stored)) if stored == fresh);
        let same_header = self.flow.header_is_stored(true)
            && is_stored(Key::HeaderInfo, header.header_info())
            && is_stored(Key::TypeInfo, header.type_info());
        // The artifact's scripts take their place; nothing of an unverified artifact ever does.
        let published = self.hal.scripts.publish();
        published.map_err(|error| noted(&RecordText::ScriptsNotStored { error: Cause::of(&error) }))?;

        let mut group = [0; limits::NAME];
        let mut current_name = [0; limits::STORED_NAME];
        let mut current_group = [0; limits::NAME];
        let facts = TreeFacts {
            current_artifact_name: provides::artifact_name(installed, &mut current_name).unwrap_or(""),
            current_artifact_group: provides::artifact_group(installed, &mut current_group).unwrap_or(""),
            current_device_type: device_type.unwrap_or(""),
            artifact_name: name,
            artifact_group: header.artifact_group(&mut group).unwrap_or(""),
            payload_type: kind,
            header_info: header.header_info(),
            type_info: header.type_info(),
            meta_data: header.meta_data(),
            files: self.parser.payload_files(),
        };
        let kept = again && self.flow.header_is_stored(same_header);
        let module = &mut self.hal.module;
        let prepared = if kept { module.prepare_again(&facts) } else { module.prepare(&facts) };
        if let Err(error) = prepared {
            let failed = noted(&RecordText::NoTree { error: Cause::of(&error) });
            // Nobody calls `Cleanup` for an update that did not begin.
            self.remove_tree();
            return Err(failed);
        }
        if let Some(beside) = self.flow.saves_before_accepting(same_header) {
            self.write_record(beside)?;
        }
        Ok(Event::Accepted { accepted: Accepted::Payload { kept }, same_header })
    }

    /// The payload type of the artifact at hand; `None` for an empty payload or no artifact.
    pub(super) fn payload_type(&self) -> Option<Text<{ limits::PAYLOAD_TYPE }>> {
        let mut buf = [0; limits::PAYLOAD_TYPE];
        let kind = self.parser.header()?.payload_type(&mut buf)?;
        Text::copy(kind).ok()
    }
}
