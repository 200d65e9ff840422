//! Response flags: why a request ended as it did, in Envoy's short names.
//!
//! Law: the printed order is Envoy's (`URX,UF`), whatever the order in which flags were raised.
//! Source: Envoy's access-log documentation, operator `%RESPONSE_FLAGS%`.

use std::fmt;

/// One reason, named as Envoy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Flag {
    /// `DI`: a delay was injected. First, as Envoy prints flags in the order in which they were raised.
    DelayInjected,
    /// `URX`: the retries are used up.
    UpstreamRetryLimitExceeded,
    /// `UH`: no healthy upstream endpoint.
    NoHealthyUpstream,
    /// `UO`: a circuit breaker was open, to the request or to another attempt after what stands behind it.
    UpstreamOverflow,
    /// `UF`: the upstream connection failed.
    UpstreamConnectionFailure,
    /// `NR`: no route.
    NoRoute,
    /// `NC`: the route names an unknown cluster.
    NoCluster,
    /// `FI`: a fault was injected.
    FaultInjected,
    /// `UMSDR`: the upstream's stream lived for as long as one may.
    UpstreamMaxDuration,
    /// `DT`: the caller's stream lived for as long as one may.
    DurationTimeout,
    /// `DC`: the downstream connection ended.
    DownstreamConnectionTermination,
    /// `UT`: the upstream did not answer in time.
    UpstreamRequestTimeout,
    /// `UC`: the upstream connection ended before its time.
    UpstreamConnectionTermination,
    /// `UR`: the upstream reset the stream.
    UpstreamRemoteReset,
    /// `LR`: Weir reset the stream itself (a budget or an idle limit).
    LocalReset,
    /// `SI`: the stream was idle for too long.
    StreamIdleTimeout,
    /// `DPE`: the downstream broke the protocol.
    DownstreamProtocolError,
    /// `UPE`: the upstream broke the protocol.
    UpstreamProtocolError,
}

impl Flag {
    /// Every flag, in printing order.
    pub const ALL: [Flag; 18] = [
        Flag::DelayInjected,
        Flag::UpstreamRetryLimitExceeded,
        Flag::NoHealthyUpstream,
        Flag::UpstreamOverflow,
        Flag::UpstreamConnectionFailure,
        Flag::NoRoute,
        Flag::NoCluster,
        Flag::FaultInjected,
        Flag::UpstreamMaxDuration,
        Flag::DurationTimeout,
        Flag::DownstreamConnectionTermination,
        Flag::UpstreamRequestTimeout,
        Flag::UpstreamConnectionTermination,
        Flag::UpstreamRemoteReset,
        Flag::LocalReset,
        Flag::StreamIdleTimeout,
        Flag::DownstreamProtocolError,
        Flag::UpstreamProtocolError,
    ];

    /// Envoy's short name, such as `UH`.
    pub fn short(self) -> &'static str {
        match self {
            Flag::NoHealthyUpstream => "UH",
            Flag::UpstreamConnectionFailure => "UF",
            Flag::UpstreamOverflow => "UO",
            Flag::NoRoute => "NR",
            Flag::UpstreamRetryLimitExceeded => "URX",
            Flag::NoCluster => "NC",
            Flag::DelayInjected => "DI",
            Flag::FaultInjected => "FI",
            Flag::UpstreamMaxDuration => "UMSDR",
            Flag::DurationTimeout => "DT",
            Flag::DownstreamConnectionTermination => "DC",
            Flag::UpstreamRequestTimeout => "UT",
            Flag::UpstreamConnectionTermination => "UC",
            Flag::UpstreamRemoteReset => "UR",
            Flag::LocalReset => "LR",
            Flag::StreamIdleTimeout => "SI",
            Flag::DownstreamProtocolError => "DPE",
            Flag::UpstreamProtocolError => "UPE",
        }
    }

    /// Envoy's long name, such as `NoHealthyUpstream`.
    pub fn long(self) -> &'static str {
        match self {
            Flag::NoHealthyUpstream => "NoHealthyUpstream",
            Flag::UpstreamConnectionFailure => "UpstreamConnectionFailure",
            Flag::UpstreamOverflow => "UpstreamOverflow",
            Flag::NoRoute => "NoRouteFound",
            Flag::UpstreamRetryLimitExceeded => "UpstreamRetryLimitExceeded",
            Flag::NoCluster => "NoClusterFound",
            Flag::DelayInjected => "DelayInjected",
            Flag::FaultInjected => "FaultInjected",
            Flag::UpstreamMaxDuration => "UpstreamMaxStreamDurationReached",
            Flag::DurationTimeout => "DurationTimeout",
            Flag::DownstreamConnectionTermination => "DownstreamConnectionTermination",
            Flag::UpstreamRequestTimeout => "UpstreamRequestTimeout",
            Flag::UpstreamConnectionTermination => "UpstreamConnectionTermination",
            Flag::UpstreamRemoteReset => "UpstreamRemoteReset",
            Flag::LocalReset => "LocalReset",
            Flag::StreamIdleTimeout => "StreamIdleTimeout",
            Flag::DownstreamProtocolError => "DownstreamProtocolError",
            Flag::UpstreamProtocolError => "UpstreamProtocolError",
        }
    }

    /// The flag of that short name.
    pub fn parse(short: &str) -> Option<Flag> {
        Flag::ALL.into_iter().find(|flag| flag.short() == short)
    }
}

/// A set of flags; prints as Envoy prints it: short names with commas, `-` when empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// The empty set.
    pub const NONE: Flags = Flags(0);

    /// Adds `flag`.
    pub fn raise(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether `flag` is in the set.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether a flag of `others` is in the set.
    pub fn meets(self, others: Flags) -> bool {
        self.0 & others.0 != 0
    }

    /// The flags that are raised, in printing order.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(move |&flag| self.has(flag))
    }

    /// Whether no flag is raised.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a flag says that something went wrong: a delay that was injected by itself does not.
    pub fn blame(self) -> bool {
        self.0 & !(1 << Flag::DelayInjected as u8) != 0
    }

    /// The set as a small number, for keys that must not format.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Flags {
        let mut flags = Flags::NONE;
        flags.raise(flag);
        flags
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<I: IntoIterator<Item = Flag>>(all: I) -> Flags {
        let mut flags = Flags::NONE;
        all.into_iter().for_each(|flag| flags.raise(flag));
        flags
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut first = true;
        for flag in self.iter() {
            if !first {
                f.write_str(",")?;
            }
            first = false;
            f.write_str(flag.short())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_envoys_order_whatever_the_order_of_raising() {
        let mut flags = Flags::from(Flag::UpstreamRequestTimeout);
        flags.raise(Flag::UpstreamRetryLimitExceeded);
        assert_eq!(flags.to_string(), "URX,UT");
        let mut flags = Flags::from(Flag::UpstreamConnectionFailure);
        flags.raise(Flag::UpstreamRetryLimitExceeded);
        flags.raise(Flag::DelayInjected);
        assert_eq!(flags.to_string(), "DI,URX,UF");
        let mut flags = Flags::from(Flag::UpstreamConnectionFailure);
        flags.raise(Flag::UpstreamOverflow);
        assert_eq!(flags.to_string(), "UO,UF");
        assert_eq!(Flags::NONE.to_string(), "-");
    }

    #[test]
    fn a_delay_that_was_injected_is_nobodys_fault() {
        let mut flags = Flags::from(Flag::DelayInjected);
        assert!(!flags.blame() && !Flags::NONE.blame() && !flags.is_empty());
        flags.raise(Flag::FaultInjected);
        assert!(flags.blame());
    }

    #[test]
    fn every_flag_has_its_own_bit_and_name() {
        let names: std::collections::BTreeSet<_> = Flag::ALL.iter().map(|flag| flag.short()).collect();
        assert_eq!(names.len(), Flag::ALL.len());
        assert!(Flag::ALL.iter().all(|&flag| Flag::parse(flag.short()) == Some(flag)));
        assert!(Flag::ALL.iter().enumerate().all(|(bit, &flag)| Flags::from(flag).bits() == 1 << bit));
    }
}
