//! Reason codes of brokers in words a person can act on (MQTT 5 §2.4; 3.1.1 §3.2.2.3 is mapped to them).

/// Why the broker refused the connection.
pub(super) fn refused(reason: u8) -> String {
    let words = match reason {
        0x84 => "it does not speak this version of MQTT: set version to 3 or 5",
        0x85 => "it does not accept the client id: set client_id",
        0x86 => "wrong user name or password",
        0x87 => "this user may not connect: ask for an account on the broker",
        0x88 | 0x89 => "it is not available just now",
        0x8A => "this gateway is banned there",
        0x8C => "it asks for an authentication other than user name and password",
        0x95 => "our greeting is too large for it",
        0x97 => "a quota of this account is used up",
        0x9C | 0x9D => "it asks to use another server",
        0x9F => "we connect too often",
        _ => return format!("the broker refused the connection (reason 0x{reason:02X})"),
    };
    format!("the broker refused the connection: {words}")
}

/// Why the broker ended the connection (DISCONNECT, 5 only).
pub(super) fn disconnected(reason: u8, client_id: &str) -> String {
    let words = match reason {
        0x87 => "this user may not do that any more",
        0x89 => "it is busy",
        0x8B => "it is shutting down",
        0x8D => "it heard nothing from us in time",
        0x8E => {
            return format!(
                "another client connected to the broker with our client id \"{client_id}\": give each gateway its own client_id"
            );
        }
        0x93 => "it says we take more messages than we should",
        0x95 => "a packet of ours was too large for it",
        0x97 => "a quota of this account is used up",
        0x98 => "an administrator ended it",
        0x9C | 0x9D => "it asks to use another server",
        _ => return format!("the broker ended the connection (reason 0x{reason:02X})"),
    };
    format!("the broker ended the connection: {words}")
}

/// Why a topic filter was not granted.
pub(super) fn not_granted(reason: u8) -> &'static str {
    match reason {
        0x87 => "this user may not read it",
        0x8F => "the broker does not accept this filter",
        0x97 => "a quota of this account is used up",
        0x9E => "the broker has no shared subscriptions",
        0xA2 => "the broker has no wildcards",
        // 3.1.1 knows only 0x80; most often it is the broker's access list.
        _ => "the broker refused it; may this user read it?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_what_to_do_and_an_unknown_one_its_number() {
        assert!(refused(0x86).contains("password"));
        assert!(refused(0xEE).contains("0xEE"));
        assert!(disconnected(0x8E, "gw-1").contains("gw-1"));
        assert!(disconnected(0x00, "x").contains("0x00"));
        assert!(not_granted(0x80).contains("may this user"));
    }
}
