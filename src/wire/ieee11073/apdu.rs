//! APDUs of ISO/IEEE 11073-20601 in MDER (ISO/IEEE 11073-20601 Annex A and F): big endian, lengths before contents.

/// Association request of an agent.
pub const AARQ: u16 = 0xE200;
/// Association response.
pub const AARE: u16 = 0xE300;
/// Release request.
pub const RLRQ: u16 = 0xE400;
/// Release response.
pub const RLRE: u16 = 0xE500;
/// Abort.
pub const ABRT: u16 = 0xE600;
/// Presentation: everything while associated.
pub const PRST: u16 = 0xE700;

/// Remote operation invoke, event report without confirmation.
pub const EVENT: u16 = 0x0100;
/// Remote operation invoke, confirmed event report.
pub const CONFIRMED_EVENT: u16 = 0x0101;
/// Remote operation invoke, get.
pub const GET: u16 = 0x0103;
/// Response to a confirmed event report.
pub const EVENT_RESULT: u16 = 0x0201;
/// Response to a get.
pub const GET_RESULT: u16 = 0x0203;

/// `MDC_NOTI_CONFIG`: the agent tells its configuration.
pub const NOTI_CONFIG: u16 = 0x0D1C;
/// `MDC_NOTI_SCAN_REPORT_FIXED`, the first of the scan reports.
pub const NOTI_SCAN_FIRST: u16 = 0x0D1D;
/// `MDC_NOTI_SEGMENT_DATA`, which stands between them.
pub const NOTI_SEGMENT_DATA: u16 = 0x0D21;
/// `MDC_NOTI_BUF_SCAN_REPORT_MP_GROUPED`, the last of them.
pub const NOTI_SCAN_LAST: u16 = 0x0D2D;

/// The data protocol of this standard.
pub const PROTOCOL_20601: u16 = 20601;

/// Octets read from the front.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a>(pub &'a [u8]);

impl<'a> Octets<'a> {
    /// The next `count` octets.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
    }

    /// OCTET STRING or ANY: a length and as many octets.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// SEQUENCE OF: a count, a length, and the octets of the elements.
    pub fn sequence(&mut self) -> Option<(u16, Octets<'a>)> {
        let count = self.u16()?;
        Some((count, Octets(self.counted()?)))
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One APDU: what it is and its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apdu<'a> {
    pub choice: u16,
    pub contents: &'a [u8],
}

/// Whether a choice is one of the six.
pub const fn is_apdu(choice: u16) -> bool {
    matches!(choice, AARQ | AARE | RLRQ | RLRE | ABRT | PRST)
}

/// The APDUs in a kept frame, in order, as far as they are whole.
pub fn apdus(bytes: &[u8]) -> impl Iterator<Item = Apdu<'_>> {
    let mut octets = Octets(bytes);
    std::iter::from_fn(move || {
        let choice = octets.u16().filter(|choice| is_apdu(*choice))?;
        Some(Apdu { choice, contents: octets.counted()? })
    })
}

/// What an association request says of the protocol this side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association<'a> {
    /// Bit 0 (most significant): association version 1.
    pub version: u32,
    /// The data protocol 20601, when it is offered.
    pub offer: Option<Offer<'a>>,
}

/// `PhdAssociationInformation`, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    pub protocol_version: u32,
    /// Bit 0 (most significant): MDER.
    pub encoding_rules: u16,
    /// EUI-64 of the agent.
    pub system_id: &'a [u8],
    pub config_id: u16,
}

/// Reads the contents of an AARQ.
pub fn association(contents: &[u8]) -> Option<Association<'_>> {
    let mut octets = Octets(contents);
    let version = octets.u32()?;
    let (_, mut protocols) = octets.sequence()?;
    let mut offer = None;
    while let Some(protocol) = protocols.u16() {
        let information = protocols.counted()?;
        if protocol == PROTOCOL_20601 && offer.is_none() {
            offer = Some(offered(information)?);
        }
    }
    Some(Association { version, offer })
}

fn offered(information: &[u8]) -> Option<Offer<'_>> {
    let mut octets = Octets(information);
    let protocol_version = octets.u32()?;
    let encoding_rules = octets.u16()?;
    // Nomenclature version, functional units and system type decide nothing here.
    octets.take(12)?;
    Some(Offer { protocol_version, encoding_rules, system_id: octets.counted()?, config_id: octets.u16()? })
}

/// A data APDU: which operation, and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    pub invoke: u16,
    pub choice: u16,
    pub arguments: &'a [u8],
}

/// Reads the contents of a PRST.
pub fn operation(contents: &[u8]) -> Option<Operation<'_>> {
    let mut octets = Octets(Octets(contents).counted()?);
    Some(Operation { invoke: octets.u16()?, choice: octets.u16()?, arguments: octets.counted()? })
}

/// The arguments of an event report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub handle: u16,
    /// Relative time of the agent in 1/8 ms; `FFFFFFFF` when it has none.
    pub time: u32,
    pub kind: u16,
    pub information: &'a [u8],
}

/// Reads an event report.
pub fn event(arguments: &[u8]) -> Option<Event<'_>> {
    let mut octets = Octets(arguments);
    Some(Event {
        handle: octets.u16()?,
        time: octets.u32()?,
        kind: octets.u16()?,
        information: octets.counted()?,
    })
}

/// Whether an event type is a scan report of any kind.
pub const fn is_scan(kind: u16) -> bool {
    kind >= NOTI_SCAN_FIRST && kind <= NOTI_SCAN_LAST && kind != NOTI_SEGMENT_DATA
}

/// An APDU with its length put before it. Contents are far below 64 KiB by construction.
pub fn apdu(choice: u16, contents: &[u8]) -> Vec<u8> {
    let mut bytes = choice.to_be_bytes().to_vec();
    bytes.extend(counted(contents));
    bytes
}

/// A length and the octets.
pub fn counted(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(octets.iter().take(usize::from(length)));
    bytes
}

/// A PRST with one operation.
pub fn prst(invoke: u16, choice: u16, arguments: &[u8]) -> Vec<u8> {
    let mut data = invoke.to_be_bytes().to_vec();
    data.extend(choice.to_be_bytes());
    data.extend(counted(arguments));
    apdu(PRST, &counted(&data))
}

/// An event report.
pub fn event_report(invoke: u16, confirmed: bool, event: &Event<'_>) -> Vec<u8> {
    let mut arguments = event.handle.to_be_bytes().to_vec();
    arguments.extend(event.time.to_be_bytes());
    arguments.extend(event.kind.to_be_bytes());
    arguments.extend(counted(event.information));
    prst(invoke, if confirmed { CONFIRMED_EVENT } else { EVENT }, &arguments)
}

/// An association request as an agent sends it.
pub fn association_request(system_id: &[u8], config_id: u16) -> Vec<u8> {
    let mut information = Vec::new();
    for word in [0x8000u16, 0, 0xA000, 0x8000, 0, 0, 0, 0x0080, 0] {
        information.extend(word.to_be_bytes());
    }
    information.extend(counted(system_id));
    information.extend(config_id.to_be_bytes());
    information.extend([0x00, 0x81, 0x01, 0x01, 0, 0, 0, 0]);
    let mut list = PROTOCOL_20601.to_be_bytes().to_vec();
    list.extend(counted(&information));
    let mut contents = vec![0x80, 0, 0, 0, 0, 1];
    contents.extend(counted(&list));
    apdu(AARQ, &contents)
}
