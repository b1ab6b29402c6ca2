//! What a device says of an alarm beside its code: IHE Alert Communication Management (PCD-04) and the alert attributes
//! of IEEE 11073-10201.

use std::sync::Arc;

use serde::Serialize;

use super::Coding;

/// One telling of an alarm. Its start, updates and end carry the same [`Alarm::episode`]; the metric of the measurement
/// is the event (`MDC_EVT_LO`), `taken` the time of this telling.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
pub struct Alarm {
    /// What the device shows, e.g. `** SpO2 LOW`.
    pub text: Option<Arc<str>>,
    /// MDC_ATTR_EVENT_PHASE.
    pub phase: Option<AlarmPhase>,
    /// MDC_ATTR_ALARM_STATE.
    pub state: Option<AlarmState>,
    /// MDC_ATTR_ALARM_INACTIVATION_STATE; several may hold at once.
    pub inactivation: Vec<AlarmInactivation>,
    /// MDC_ATTR_ALARM_PRIORITY, IEC 60601-1-8.
    pub priority: Option<AlarmPriority>,
    /// MDC_ATTR_ALERT_TYPE.
    pub kind: Option<AlertKind>,
    /// MDC_ATTR_ALERT_SOURCE: the metric or part of the device that alarms.
    pub source: Option<Coding>,
    /// What the device calls this alarm from its start to its end; `None` when it has no such number.
    pub episode: Option<Arc<str>>,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alarm({:?}, {:?})", self.phase, self.state)
    }
}

/// Declares an enumeration with the words of its standard.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal $(| $alias:literal)* ,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($variant,)* }

        impl $name {
            /// The word of the standard.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Reads the word as devices write it, whatever its case; `None` for another word.
            pub fn parse(text: &str) -> Option<Self> {
                let text = text.trim();
                $(if [$code $(, $alias)*].iter().any(|word| word.eq_ignore_ascii_case(text)) {
                    return Some(Self::$variant);
                })*
                None
            }
        }
    };
}

words! {
    /// Where in its life an alarm is (IHE PCD TF-2, ACM: event phase).
    AlarmPhase {
        Point = "tpoint",
        Start = "start",
        Continue = "continue",
        End = "end",
        Present = "present",
        Update = "update",
        Escalate = "escalate",
        DeEscalate = "de-escalate" | "de_escalate",
        Reset = "reset",
    }
}

impl AlarmPhase {
    /// Nothing more will be told of this alarm.
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Point | Self::End | Self::Reset)
    }
}

words! {
    /// Whether the alarm condition holds (IHE PCD TF-2, ACM: alarm state).
    AlarmState {
        Inactive = "inactive",
        Active = "active",
        Latched = "latched",
    }
}

words! {
    /// What of the signal is switched off (IHE PCD TF-2, ACM: alarm inactivation state).
    AlarmInactivation {
        Enabled = "enabled",
        AudioPaused = "audio-paused",
        AudioOff = "audio-off",
        AlarmPaused = "alarm-paused",
        AlarmOff = "alarm-off",
        Acknowledged = "alert-acknowledged" | "acknowledged",
    }
}

words! {
    /// IEC 60601-1-8 priority in the words of IHE PCD (OBX-8).
    AlarmPriority {
        None = "PN" | "none",
        Low = "PL" | "low",
        Medium = "PM" | "medium",
        High = "PH" | "high",
    }
}

words! {
    /// What an alert is about (IHE PCD, OBX-8).
    AlertKind {
        Physiological = "SP",
        Technical = "ST",
        Advisory = "SA",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_standard_are_read_in_any_case_and_written_as_the_standard_has_them() {
        assert_eq!(AlarmPhase::parse(" Start "), Some(AlarmPhase::Start));
        assert_eq!(AlarmPhase::parse("de_escalate").map(AlarmPhase::code), Some("de-escalate"));
        assert_eq!(AlarmState::parse("LATCHED"), Some(AlarmState::Latched));
        assert_eq!(AlarmInactivation::parse("audio-paused"), Some(AlarmInactivation::AudioPaused));
        assert_eq!(AlarmPriority::parse("high").map(AlarmPriority::code), Some("PH"));
        assert_eq!(AlertKind::parse("SP"), Some(AlertKind::Physiological));
        assert_eq!(AlarmPriority::parse("H"), None, "a limit flag is no priority");
    }

    #[test]
    fn an_alarm_ends_with_its_end_and_a_point_in_time_has_nothing_after_it() {
        assert!(AlarmPhase::End.is_last() && AlarmPhase::Point.is_last());
        assert!(!AlarmPhase::Start.is_last() && !AlarmPhase::Update.is_last());
    }

    #[test]
    fn what_is_printed_of_an_alarm_shows_no_text() {
        let alarm = Alarm { text: Some("LOW for TEST^PATIENT".into()), ..Alarm::default() };
        assert!(!format!("{alarm:?}").contains("PATIENT"));
    }
}
