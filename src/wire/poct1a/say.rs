//! The messages of a host that only reads. Nothing else can be sent: there is no operator list, no patient list,
//! no clock setting and no command of a maker in this file.

use quick_xml::escape::escape;

/// The words of a host message beside its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// `ACK.R01` with AA: what was acknowledged may be forgotten.
    Accept { control_id: &'a str },
    /// `ACK.R01` with AE: keep it.
    Refuse { control_id: &'a str, note: &'static str },
    /// `REQ.R01` ROBS: send what was observed.
    RequestObservations,
    /// `DTV.R01` START_CONTINUOUS: from now on send what is observed by yourself.
    StartContinuous,
    /// `END.R01` NRM: the conversation is over.
    End,
}

impl Message<'_> {
    const fn root(self) -> &'static str {
        match self {
            Self::Accept { .. } | Self::Refuse { .. } => "ACK.R01",
            Self::RequestObservations => "REQ.R01",
            Self::StartContinuous => "DTV.R01",
            Self::End => "END.R01",
        }
    }

    fn body(self) -> String {
        match self {
            Self::Accept { control_id } => {
                let id = escape(control_id);
                format!("<ACK><ACK.type_cd V=\"AA\"/><ACK.ack_control_id V=\"{id}\"/></ACK>")
            }
            Self::Refuse { control_id, note } => {
                let id = escape(control_id);
                format!(
                    "<ACK><ACK.type_cd V=\"AE\"/><ACK.ack_control_id V=\"{id}\"/><ACK.note_txt V=\"{note}\"/></ACK>"
                )
            }
            Self::RequestObservations => "<REQ><REQ.request_cd V=\"ROBS\"/></REQ>".into(),
            Self::StartContinuous => "<DTV><DTV.command_cd V=\"START_CONTINUOUS\"/></DTV>".into(),
            Self::End => "<TRM><TRM.reason_cd V=\"NRM\"/></TRM>".into(),
        }
    }

    /// The whole document. `stamp`: HDR.creation_dttm, left out when no time is known.
    pub(super) fn document(self, control_id: u64, stamp: Option<&str>) -> Vec<u8> {
        let (root, body) = (self.root(), self.body());
        let stamp =
            stamp.map(|stamp| format!("<HDR.creation_dttm V=\"{}\"/>", escape(stamp))).unwrap_or_default();
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><{root}><HDR><HDR.message_type V=\"{root}\"/>\
             <HDR.control_id V=\"{control_id}\"/><HDR.version_id V=\"POCT1\"/>{stamp}</HDR>{body}</{root}>"
        )
        .into_bytes()
    }
}
