//! Answers: what their heads mean, and what their bodies say.

use super::Trouble;
use crate::api::auth::{self, TokenError};
use crate::api::{Endpoint, Reply, deployments, error_text};
use crate::client::Client;
use crate::client::messages::{RequestText, say};
use crate::control::Map;
use crate::flow::{Event, Offer};
use crate::hal::{Level, Platform};
use crate::http::Head;
use crate::session::{Content, RequestKind};
use crate::text::TooLong;
use crate::time::Instant;

impl<P: Platform> Client<'_, P> {
    /// What the head of an answer means.
    pub(super) fn reply(&mut self, kind: RequestKind, head: Head) -> Reply {
        let endpoint = match kind {
            RequestKind::Token => Endpoint::Auth,
            RequestKind::NextV2 => Endpoint::NextV2,
            RequestKind::NextV1 => Endpoint::NextV1 { artifact_name: "", device_type: "" },
            RequestKind::Status(_) | RequestKind::StatusAlone(_) => Endpoint::Status(""),
            RequestKind::Log => Endpoint::Log(""),
            RequestKind::Inventory => Endpoint::Inventory,
            RequestKind::ControlMap => Endpoint::ControlMap(""),
        };
        let reply = endpoint.reply(head.status, head.retry_after);
        self.flight.answered(kind, head.status);
        if reply == Reply::Failed(400) && self.requests.has_substate && matches!(kind, RequestKind::Status(_))
        {
            return Reply::SubstateRefused;
        }
        if reply == Reply::Unauthorized && kind != RequestKind::Token {
            say(&mut self.hal.log, Level::Info, &RequestText::TokenRefused { request: kind });
        }
        reply
    }

    /// The body of an answer is here; `whole`: to its end. What it says goes to the flow where that
    /// matters; else it is logged.
    pub(super) fn read_answer(
        &mut self,
        now: Instant,
        kind: RequestKind,
        server: u8,
        reply: Reply,
        whole: bool,
    ) -> Event {
        let content = match reply {
            Reply::Done if !whole && kind.reads_answer() => {
                let length = self.lent.answer().len();
                self.note_trouble(&RequestText::AnswerTooLong { request: kind, length });
                Content::Unusable
            }
            Reply::Done => {
                self.requests.answered(now, server);
                match self.take(now, kind, server) {
                    Ok((content, offer)) => return Event::Answered(content, offer),
                    Err(Trouble) => Content::Unusable,
                }
            }
            Reply::Nothing => {
                self.requests.answered(now, server);
                Content::Good
            }
            Reply::Unauthorized
            | Reply::NotFound
            | Reply::SubstateRefused
            | Reply::Aborted
            | Reply::TooLarge
            | Reply::Later(_)
            | Reply::Failed(_) => {
                let text = error_text(self.lent.answer()).unwrap_or_default();
                // A 404 without the API's own error comes from something in between.
                let is_meant = reply != Reply::NotFound || !text.is_empty();
                let reason = match text.as_str() {
                    "" => RequestText::Refused { request: kind, reply },
                    text => RequestText::RefusedWith { request: kind, reply, text },
                };
                self.requests.note(&mut self.hal.log, &reason);
                if is_meant { Content::Good } else { Content::Unusable }
            }
        };
        Event::Answered(content, Offer::Nothing)
    }

    /// Takes what was asked for out of the answer.
    fn take(&mut self, now: Instant, kind: RequestKind, server: u8) -> Result<(Content, Offer), Trouble> {
        match kind {
            RequestKind::Token => {
                let Self { token, lent, .. } = self;
                token.clear();
                let taken = auth::token(lent.answer())
                    .and_then(|new| token.set(new).map_err(|TooLong { limit }| TokenError::TooLong(limit)));
                match taken {
                    Ok(()) => {}
                    Err(error) => return Err(self.note_trouble(&error)),
                }
                Ok((Content::Good, Offer::Nothing))
            }
            RequestKind::NextV2 | RequestKind::NextV1 if self.flow.session().is_for_link() => {
                Ok((self.take_link(now, server)?, Offer::Nothing))
            }
            RequestKind::NextV2 | RequestKind::NextV1 => Ok((Content::Good, self.take_offer(now, server)?)),
            RequestKind::Inventory => {
                let body = str::from_utf8(self.lent.body());
                self.requests.accepted.remember(body.unwrap_or_default());
                Ok((Content::Good, Offer::Nothing))
            }
            RequestKind::ControlMap => {
                let raw = match deployments::control_map(self.lent.answer()) {
                    Ok(raw) => raw,
                    Err(error) => {
                        return Err(self.requests.note(&mut self.hal.log, &error));
                    }
                };
                let map = Map::from_server(Some(raw), self.machine().deployment());
                Ok((Content::Good, Offer::Map(self.usable(map).flatten())))
            }
            RequestKind::Status(_) | RequestKind::StatusAlone(_) | RequestKind::Log => {
                Ok((Content::Good, Offer::Nothing))
            }
        }
    }
}
