//! All scenes, by what they are about.

#[path = "scenes/answers.rs"]
mod answers;
#[path = "scenes/attempts.rs"]
mod attempts;
#[path = "scenes/beside.rs"]
mod beside;
#[path = "scenes/cors.rs"]
mod cors;
#[path = "scenes/edits.rs"]
mod edits;
#[path = "scenes/faults.rs"]
mod faults;
#[path = "scenes/silence.rs"]
mod silence;

use super::common::world::Http;
use super::scene::{Ask, Scene, ask, call, get, http_route, post, scene, unnamed_upgrade, upgrade};

pub(super) use answers::answers;
pub(super) use attempts::{asked_for, attempts};
pub(super) use beside::beside;
pub(super) use cors::cors;
pub(super) use edits::edits;
pub(super) use faults::{faults, shares};
pub(super) use silence::silence;
