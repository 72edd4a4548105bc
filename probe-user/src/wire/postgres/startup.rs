//! From the first packet to the first ReadyForQuery (PostgreSQL documentation, "Start-up",
//! "SSL Session Encryption", "Canceling Requests in Progress").

use std::sync::Arc;

use super::Stage;
use super::body;
use super::event::{Event, SessionInfo, TransactionStatus};
use super::frame::Frame;
use super::session::Session;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// How far a start-up has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Startup {
    pub(super) step: Step,
    /// When the first packet came.
    begun: Option<u64>,
    /// Whether encryption was agreed on, so that only clear text can be read.
    pub(super) encrypted: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A packet of the client's.
    Packet,
    /// The server's single byte that answers a request for encryption.
    Negotiation,
    /// Authentication and parameters.
    Authentication,
}

/// What a packet of the client's leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Encryption: the server answers with one byte.
    Encryption,
    /// A session: messages follow in both directions.
    Session,
    /// Nothing more comes on this connection, or nothing that is known.
    Nothing,
}

impl Startup {
    /// A start-up of which the first packet is about to be read.
    pub(super) fn expected() -> Self {
        Self {
            step: Step::Packet,
            begun: None,
            encrypted: false,
        }
    }

    /// The server's answer to a request for encryption.
    pub(super) fn negotiated(self, encrypted: bool) -> Self {
        Self {
            step: Step::Packet,
            encrypted,
            ..self
        }
    }

    /// The server refuses even to negotiate.
    pub(super) fn refused(self) -> Self {
        Self {
            step: Step::Authentication,
            ..self
        }
    }

    /// A packet of the client's.
    pub(super) fn packet(
        self,
        frame: &Frame<'_>,
        session: &mut Session,
        out: &mut Vec<Event>,
    ) -> (Self, Asked) {
        let begun = Some(self.begun.unwrap_or(frame.begun));
        let next = |step| Self {
            step,
            begun,
            ..self
        };
        let code = frame.body.get(..4).and_then(|code| code.try_into().ok());
        match code.map(u32::from_be_bytes) {
            Some(SSL | GSS) => (next(Step::Negotiation), Asked::Encryption),
            Some(CANCEL) => {
                out.push(Event::Cancel);
                (next(Step::Packet), Asked::Nothing)
            }
            Some(version) if version >> 16 == 3 => {
                let parameters = frame.body.get(4..).unwrap_or_default();
                session.info = Arc::new(session_of(version, parameters));
                (next(Step::Authentication), Asked::Session)
            }
            _ => {
                out.push(Event::NotPostgres);
                (next(Step::Packet), Asked::Nothing)
            }
        }
    }

    /// A message of the server's before the first ReadyForQuery.
    pub(super) fn answer(
        self,
        frame: &Frame<'_>,
        session: &mut Session,
        now: u64,
        out: &mut Vec<Event>,
    ) -> Stage {
        match frame.kind {
            b'E' => {
                out.push(Event::Refused {
                    sqlstate: body::sqlstate(frame.body),
                    session: Arc::clone(&session.info),
                });
                return Stage::Left;
            }
            b'K' => {
                let pid = frame.body.get(..4).and_then(|pid| pid.try_into().ok());
                Arc::make_mut(&mut session.info).backend_pid = pid.map(u32::from_be_bytes);
            }
            b'v' => {
                let minor = frame.body.get(2..4).and_then(|minor| minor.try_into().ok());
                if let (Some(minor), Some((_, known))) = (
                    minor.map(u16::from_be_bytes),
                    Arc::make_mut(&mut session.info).protocol.as_mut(),
                ) {
                    *known = minor;
                }
            }
            b'S' => session.parameter_status(frame.body),
            b'Z' => {
                out.push(Event::Connected {
                    connect_to_ready_ns: now.saturating_sub(self.begun.unwrap_or(now)),
                    session: Arc::clone(&session.info),
                });
                if let Some(&status) = frame.body.first() {
                    let status = TransactionStatus::of_byte(status);
                    let status = status.unwrap_or(TransactionStatus::Idle);
                    out.push(Event::Ready { status, at_ns: now });
                }
                session.answered_at = now;
                return Stage::Open;
            }
            _ => {}
        }
        Stage::Startup(self)
    }
}

/// The parameters of a StartupMessage: names and values in turn.
fn session_of(version: u32, mut parameters: &[u8]) -> SessionInfo {
    let [major, minor] = [version >> 16, version & 0xffff];
    let mut info = SessionInfo {
        protocol: u16::try_from(major).ok().zip(u16::try_from(minor).ok()),
        ..SessionInfo::default()
    };
    while let Some((name, rest)) = body::string(parameters) {
        let Some((value, rest)) = body::string(rest) else {
            break;
        };
        match name {
            b"user" => info.user = Some(body::readable(value)),
            b"database" => info.database = Some(body::readable(value)),
            b"application_name" => info.application_name = Some(body::readable(value)),
            b"" => break,
            _ => {}
        }
        parameters = rest;
    }
    info.database = info.database.or_else(|| info.user.clone());
    info
}

/// Whether bytes can be the start of a start-up packet. No other message begins with a NUL.
pub(super) fn starts_like_one(bytes: &[u8]) -> bool {
    let at = |index: usize| bytes.get(index).copied();
    let or_missing = |index: usize, valid: fn(u8) -> bool| at(index).is_none_or(valid);
    let plain = or_missing(4, |byte| byte == 0)
        && or_missing(5, |byte| byte == 3)
        && or_missing(6, |byte| byte == 0);
    let special = or_missing(4, |byte| byte == 0x04)
        && or_missing(5, |byte| byte == 0xd2)
        && or_missing(6, |byte| byte == 0x16)
        && or_missing(7, |byte| (0x2e..=0x30).contains(&byte));
    at(0) == Some(0)
        && or_missing(1, |byte| byte == 0)
        && or_missing(2, |byte| byte <= 0x27)
        && (plain || special)
}
