//! Wire types of TF Serving's gRPC API, generated from `proto/`.
//!
//! Law: nothing here is written by hand but this table of contents; `tests/proto.rs` regenerates the rest and compares.
//! It knows nothing of Weir.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// TensorFlow's own types: tensors, shapes, signatures.
pub mod tensorflow {
    include!("tensorflow.rs");

    /// TensorFlow's status codes.
    pub mod error {
        include!("tensorflow.error.rs");
    }

    /// TF Serving's messages, clients and servers.
    pub mod serving {
        include!("tensorflow.serving.rs");
    }
}
