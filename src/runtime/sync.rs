//! What threads of ours share beyond a lock, under one name for the program and for its models.
//!
//! Law: in a program these are the types of std and tokio and nothing else. In the models (`cargo test --lib --features
//! models models::`) threads take turns, each step chosen by shuttle, which tries the orders one after the other.

#[cfg(not(all(test, feature = "models")))]
pub use std::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(all(test, feature = "models")))]
pub use tokio::sync::watch;

#[cfg(all(test, feature = "models"))]
pub use shuttle::sync::atomic::{AtomicU32, AtomicU64};

/// A place where another thread may come in between that the types here do not show: beside what a crate shares
/// by itself. Nothing in a program.
#[inline]
pub fn step() {
    #[cfg(all(test, feature = "models"))]
    shuttle::thread::yield_now();
}

/// Tokio's channel, where another thread may come in before each call. Its own inside is not what is modelled.
#[cfg(all(test, feature = "models"))]
pub mod watch {
    use tokio::sync::watch;

    use super::step;

    /// See the module.
    #[derive(Debug)]
    pub struct Sender<T>(watch::Sender<T>);

    /// See the module.
    #[derive(Clone, Debug)]
    pub struct Receiver<T>(watch::Receiver<T>);

    /// As tokio's.
    pub fn channel<T>(initial: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = watch::channel(initial);
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        /// As tokio's.
        pub fn borrow(&self) -> watch::Ref<'_, T> {
            step();
            self.0.borrow()
        }

        /// As tokio's.
        pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
            step();
            self.0.send_if_modified(modify)
        }
    }

    impl<T> Receiver<T> {
        /// As tokio's.
        pub fn borrow(&self) -> watch::Ref<'_, T> {
            step();
            self.0.borrow()
        }

        /// As tokio's.
        pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
            step();
            self.0.changed().await
        }

        /// As tokio's.
        pub async fn wait_for(
            &mut self,
            is: impl FnMut(&T) -> bool,
        ) -> Result<watch::Ref<'_, T>, watch::error::RecvError> {
            step();
            self.0.wait_for(is).await
        }
    }
}
