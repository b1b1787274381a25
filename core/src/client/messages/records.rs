//! Of what is on record, and of an artifact that is accepted.

use crate::artifact;
use crate::artifact::provides::MergeError;
use crate::checkpoint::{Newer, Unusable};
use crate::control::LoadError;
use crate::hal::Cause;
use crate::message::messages;

messages! {
    #[cfg_attr(
        not(all(feature = "resumed-downloads", feature = "flight")),
        expect(dead_code, reason = "what is said of resumed downloads, and of the flight record")
    )]
    pub(in crate::client) enum RecordText<'a>, TEXTS = 'R' {
        1 WithoutIt { unusable: Unusable } => "{unusable}: starting without it",
        2 NoUpdates { newer: Newer } => "no updates: {newer}",
        3 ByHand =>
            "an update installed by hand was neither committed nor rolled back; the next deployment takes its place",
        4 Offer { error: Cause<'a> } => "the saved offer: {error}",
        5 BadMaps { error: &'a LoadError } => "{error}: an update in progress fails at its next door",
        6 Maps { error: Cause<'a> } =>
            "saved update control maps: {error}: an update in progress fails at its next door",
        7 BadReport => "the record of the last report is damaged: the server is not told",
        8 Report { error: Cause<'a> } =>
            "the record of the last report cannot be read: {error}: the server is not told",
        9 GoesOn { deployment: &'a str } => "going on with deployment {deployment} after a restart",
        10 ScriptsStay { error: Cause<'a> } => "the artifact's scripts cannot be removed: {error}",
        11 BadHeader { error: &'a artifact::Error } => "the stored header of the artifact: {error}",
        12 Header { error: Cause<'a> } => "the stored header of the artifact cannot be read: {error}",
        13 PayloadType { kind: &'a str, error: Cause<'a> } => "payload type {kind}: {error}",
        14 Restarted { at: Interrupted } =>
            "interrupted {at}: the client was started again, or power was lost",
        15 EndNotSaved { error: Cause<'a> } => "the end of the update could not be saved: {error}",
        16 ReportStays { error: Cause<'a> } => "the record of the last report cannot be deleted: {error}",
        17 OfferTooLong => "the server's offer is too long to be stored: a restart will end the download",
        18 NotSaved { error: Cause<'a> } => "the state of the update could not be saved: {error}",
        19 HeaderLost => "the artifact's header is lost",
        20 Installed { error: Cause<'a> } => "what is installed cannot be read: {error}",
        21 BadProvides { error: MergeError } => "the new provides could not be stored: {error}",
        22 NameNotStored { error: Cause<'a> } => "the new name and provides could not be stored: {error}",
        23 MapsNotSaved { error: Cause<'a> } => "the update control maps cannot be saved: {error}",
        24 MapsTooLong { limit: usize } =>
            "the update control maps need more than the {limit} bytes of their record: it stays as it was",
        25 RecordStays { error: Cause<'a> } => "the record of the update cannot be deleted: {error}",
        26 NoHeader => "the artifact has no header",
        27 ForThisDevice { name: &'a str } => "artifact \"{name}\" is for this device",
        28 ScriptsNotStored { error: Cause<'a> } =>
            "the artifact's state scripts could not be stored: {error}",
        29 NoTree { error: Cause<'a> } => "the work tree could not be built: {error}",
        30 BadBegun => "the record of the deployments that began here is damaged: \
            they count as new if a server offers them again",
        31 Begun { error: Cause<'a> } => "the record of the deployments that began here cannot be read: {error}: \
            they count as new if a server offers them again",
        32 BegunNotSaved { error: Cause<'a> } =>
            "how long ago deployments began cannot be saved, a restart forgets it: {error}",
        33 BadFlight => "the flight record is damaged, or of another version: it begins anew",
        34 Flight { error: Cause<'a> } => "the flight record cannot be read: {error}: it begins anew",
    }
}

messages! {
    /// Where a restart found the update.
    #[derive(Clone, Copy)]
    pub(in crate::client) enum Interrupted, INTERRUPTED = 'R' {
        41 BeforeInstall => "before ArtifactInstall",
        42 InInstall => "in ArtifactInstall",
        43 BeforeCommit => "before ArtifactCommit",
        44 InCommit => "in ArtifactCommit",
    }
}
