//! A log-in by SASL, first or again (KIP-368). Owns its order: mechanism, then one or two messages each way. Pure.
//! Used by [`super::core`].

use bytes::Bytes;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::scram::{Hash, Proved, Scram};
use crate::bus::kafka::codes::{self, Code};
use crate::bus::kafka::settings::{Mechanism, Sasl};
use crate::bus::kafka::wire::request::Request;

/// How far a log-in is.
#[derive(Debug)]
pub enum Login {
    /// The mechanism was named.
    Named {
        /// For SCRAM.
        nonce: String,
    },
    /// The only message of PLAIN is sent.
    Shown,
    /// SCRAM's first message is sent.
    Begun(Scram),
    /// SCRAM's last message is sent.
    Proved(Proved),
}

/// What follows an answer.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Send(Login, SaslAuthenticateRequest),
    /// We are in, for this many milliseconds; 0 = for as long as the connection lives.
    In(u64),
}

impl Login {
    /// Name the mechanism.
    pub fn begin(sasl: &Sasl, nonce: String) -> (Login, Request) {
        let mechanism = StrBytes::from_static_str(sasl.mechanism.name());
        let request = SaslHandshakeRequest::default().with_mechanism(mechanism);
        (Login::Named { nonce }, Request::SaslHandshake(request))
    }

    /// The broker answered about the mechanism. An error is the end of a sentence about the broker.
    pub fn named(self, sasl: &Sasl, answer: &SaslHandshakeResponse) -> Result<Step, String> {
        let Login::Named { nonce } = self else { return Err("answers out of order".to_owned()) };
        if answer.error_code == codes::UNSUPPORTED_SASL_MECHANISM {
            let known: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("does not know the log-in mechanism {}: it knows {known}", sasl.mechanism));
        }
        if answer.error_code != codes::NONE {
            return Err(format!("refuses to begin a log-in: {}", Code(answer.error_code)));
        }
        let hash = match sasl.mechanism {
            Mechanism::Plain => {
                let message = format!("\0{}\0{}", sasl.user, sasl.password.get().unwrap_or_default());
                return Ok(Step::Send(Login::Shown, authenticate(message)));
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let (scram, message) = Scram::begin(hash, &sasl.user, nonce);
        Ok(Step::Send(Login::Begun(scram), authenticate(message)))
    }

    /// The broker answered to a message. An error is the end of a sentence about the broker.
    pub fn answered(self, sasl: &Sasl, answer: &SaslAuthenticateResponse) -> Result<Step, String> {
        if answer.error_code != codes::NONE {
            let theirs = answer.error_message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
            let (user, mechanism) = (&sasl.user, sasl.mechanism);
            return Err(format!("refuses user {user:?} by {mechanism}{theirs}: check the user and the password"));
        }
        let lifetime_ms = u64::try_from(answer.session_lifetime_ms).unwrap_or_default();
        let text = std::str::from_utf8(&answer.auth_bytes).map_err(|_| "answers a log-in with no text".to_owned())?;
        match self {
            Login::Shown => Ok(Step::In(lifetime_ms)),
            Login::Begun(scram) => {
                let (proved, message) = scram.prove(text, &sasl.password).map_err(|error| error.to_string())?;
                Ok(Step::Send(Login::Proved(proved), authenticate(message)))
            }
            Login::Proved(proved) => {
                proved.verify(text).map_err(|error| error.to_string())?;
                Ok(Step::In(lifetime_ms))
            }
            Login::Named { .. } => Err("answers out of order".to_owned()),
        }
    }
}

fn authenticate(message: String) -> SaslAuthenticateRequest {
    SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message))
}
