//! Of requests to the server.

use crate::api::Reply;
use crate::control::MapError;
use crate::hal::Cause;
use crate::json;
use crate::message::{Coded, messages};
use crate::session::RequestKind;
use crate::time::Duration;

messages! {
    pub(in crate::client) enum RequestText<'a>, TEXTS = 'Q' {
        1 TooSlow { request: RequestKind, limit: Duration } => "{request}: no whole answer within {limit}",
        2 PutOff { seconds: u32 } => "authentication: the server asked to wait for {seconds} s more",
        3 Identity { error: Cause<'a> } => "the device's identity: {error}",
        4 Failed { request: RequestKind, error: &'a dyn Coded } => "{request}: {error}",
        5 BrokeOff { request: RequestKind, error: Cause<'a> } => "{request}: the answer broke off: {error}",
        6 Inventory { error: &'a dyn Coded } => "inventory: {error}",
        7 TokenRefused { request: RequestKind } => "{request}: the server refused the token",
        8 AnswerTooLong { request: RequestKind, length: usize } =>
            "{request}: the answer is longer than {length} bytes",
        9 Refused { request: RequestKind, reply: Reply } => "{request}: {reply}",
        10 RefusedWith { request: RequestKind, reply: Reply, text: &'a str } => "{request}: {reply}: {text}",
        11 NoServer => "no server is configured",
        12 Key { error: Cause<'a> } => "the device's key: {error}",
        13 Begins { deployment: &'a str, name: &'a str } => "deployment {deployment} of artifact \"{name}\" begins",
        14 ServerMap { error: &'a MapError } => "the server's update control map: {error}",
        15 ServerUrl { error: &'a dyn Coded } => "the server's URL: {error}",
        16 Installed { error: json::Error } => "what is installed: {error}",
        17 LinesLeftOut { script: &'a str, count: usize } =>
            "{script}: lines without key=value in UTF-8, or with too long a key, are left out: {count}",
        18 Script { script: &'a str, error: &'a dyn Coded } => "{script}: {error}",
        19 Log { error: Cause<'a> } => "the deployment's log: {error}",
        20 EndWasRefused { deployment: &'a str, left: Duration } =>
            "deployment {deployment} is offered again and does not begin: the server refused to hear how it ended; \
            it may begin in {left}, or when somebody at the device asks for updates",
        21 BeganTooOften { deployment: &'a str, times: u8, left: Duration } =>
            "deployment {deployment} is offered again and does not begin: it has begun {times} times within a day; \
            it may begin in {left}, or when somebody at the device asks for updates",
        22 IdentityTooSlow { limit: Duration } =>
            "the device's identity: nothing came of it within {limit}; see what holds up the part that finds it out",
        23 KeyTooSlow { limit: Duration } =>
            "the device's key: it was not there, or did not sign, within {limit}; see what holds up the part that keeps it",
    }
}
