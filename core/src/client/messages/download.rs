//! Of an artifact on its way in.

use crate::api::LinkError;
use crate::artifact;
use crate::hal::Cause;
use crate::message::{Coded, messages};
use crate::time::Duration;
use crate::transfer::Failure;

messages! {
    #[cfg_attr(not(feature = "resumed-downloads"), expect(dead_code, reason = "what is said of resumed downloads"))]
    pub(in crate::client) enum DownloadText<'a>, TEXTS = 'D' {
        1 OldScripts { error: Cause<'a> } =>
            "the state scripts of the artifact before could not be removed: {error}",
        2 NoKeys => "no verify key is configured: any artifact is accepted",
        3 AsksForLink => "the link to the artifact has expired: asking for another",
        4 NotDownloaded { error: Cause<'a> } => "the artifact could not be downloaded: {error}",
        5 BrokeOff { at: u64, error: &'a dyn Coded } => "the download broke off at byte {at}: {error}",
        6 StoredDamaged { file: &'a str } =>
            "what was stored of payload file {file} is damaged: from its beginning",
        7 GoesOn { at: u64 } => "going on with the download at byte {at}",
        8 NoLink => "the server's link to the artifact cannot be used: there is none",
        9 BadLink { why: LinkError } => "the server's link to the artifact cannot be used: {why}",
        10 NotOpened { error: Cause<'a> } => "the artifact could not be opened: {error}",
        11 Refused { status: u16 } => "the server answered {status} to the request for the artifact",
        12 RestRefused { status: u16 } =>
            "the server answered {status} to the request for the rest of the artifact",
        13 NotAcceptable { error: &'a artifact::Error } => "the artifact is not acceptable: {error}",
        14 NextAttempt { reason: &'a dyn Coded, wait: Duration } => "{reason}; next attempt in {wait}",
        15 GivenUp { reason: &'a dyn Coded, why: Failure } => "{reason}; {why}",
        16 ScriptNotStored { error: Cause<'a> } => "a state script could not be stored: {error}",
        18 NotStored { error: Cause<'a> } => "payload could not be stored: {error}",
        19 FileNotStored { file: &'a str, error: Cause<'a> } => "payload file {file} could not be stored: {error}",
        20 NotReadBack { file: &'a str, error: Cause<'a> } => "payload file {file}: {error}",
        21 StoredBefore { length: u64, file: &'a str } =>
            "{length} bytes of payload file {file} were stored before the restart",
        22 NoOtherLink => "the link to the artifact has expired, and the server gave no other",
    }
}
