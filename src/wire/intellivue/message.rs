//! The messages of the Data Export protocol as they are read: session control, remote operations, poll results
//! (Programming Guide, chapters 5 and 6). Everything is big-endian; a length counts what follows it.

/// Object class of the monitor itself.
pub(crate) const MDS: u16 = 0x0021;
pub(crate) const NUMERIC: u16 = 0x0006;
pub(crate) const ENUMERATION: u16 = 0x000A;
pub(crate) const WAVE: u16 = 0x0009;
pub(crate) const PATIENT: u16 = 0x002A;
pub(crate) const ALERTS: u16 = 0x0036;

/// Ids of the attributes that are read (object-oriented partition).
pub(crate) mod attribute {
    pub(crate) const PATIENT_ALARMS: u16 = 0x0902;
    pub(crate) const TECHNICAL_ALARMS: u16 = 0x0904;
    pub(crate) const BED_LABEL: u16 = 0x091E;
    pub(crate) const LABEL: u16 = 0x0924;
    pub(crate) const LABEL_STRING: u16 = 0x0927;
    pub(crate) const MODEL: u16 = 0x0928;
    pub(crate) const PRODUCTION: u16 = 0x092D;
    pub(crate) const METRIC_SPECIFICATION: u16 = 0x093F;
    pub(crate) const METRIC_STATE: u16 = 0x0940;
    pub(crate) const OPERATING_MODE: u16 = 0x0946;
    pub(crate) const COMPOUND_VALUE: u16 = 0x094B;
    pub(crate) const NUMERIC_VALUE: u16 = 0x0950;
    pub(crate) const PATIENT_STATE: u16 = 0x0957;
    pub(crate) const BIRTH_DATE: u16 = 0x0958;
    pub(crate) const PATIENT_ID: u16 = 0x095A;
    pub(crate) const FAMILY_NAME: u16 = 0x095C;
    pub(crate) const GIVEN_NAME: u16 = 0x095D;
    pub(crate) const MIDDLE_NAME: u16 = 0x095F;
    pub(crate) const SEX: u16 = 0x0961;
    pub(crate) const COMPOUND_SAMPLES: u16 = 0x0967;
    pub(crate) const SAMPLE_SPECIFICATION: u16 = 0x096D;
    pub(crate) const SAMPLES: u16 = 0x096E;
    pub(crate) const SCALE: u16 = 0x096F;
    pub(crate) const SYSTEM_ID: u16 = 0x0984;
    pub(crate) const SYSTEM_TYPE: u16 = 0x0986;
    pub(crate) const TIME_ABSOLUTE: u16 = 0x0987;
    pub(crate) const SAMPLE_PERIOD: u16 = 0x098D;
    pub(crate) const TIME_RELATIVE: u16 = 0x098F;
    pub(crate) const STAMP_ABSOLUTE: u16 = 0x0990;
    pub(crate) const STAMP_RELATIVE: u16 = 0x0991;
    pub(crate) const UNIT: u16 = 0x0996;
    pub(crate) const ENUMERATION_VALUE: u16 = 0x099E;
    pub(crate) const FIXED_SAMPLES: u16 = 0x0A16;
    /// Not of the protocol: in what is kept, since when each alarm of the two lists is told.
    pub(crate) const PATIENT_ALARMS_SINCE: u16 = 0xFFFD;
    pub(crate) const TECHNICAL_ALARMS_SINCE: u16 = 0xFFFE;
}

/// What later messages rest on; values and their time stamps are not among them.
pub(crate) const ATTRIBUTES_OF_INTEREST: &[u16] = &[
    attribute::PATIENT_ALARMS,
    attribute::TECHNICAL_ALARMS,
    attribute::BED_LABEL,
    attribute::LABEL,
    attribute::LABEL_STRING,
    attribute::MODEL,
    attribute::PRODUCTION,
    attribute::METRIC_SPECIFICATION,
    attribute::METRIC_STATE,
    attribute::OPERATING_MODE,
    attribute::PATIENT_STATE,
    attribute::BIRTH_DATE,
    attribute::PATIENT_ID,
    attribute::FAMILY_NAME,
    attribute::GIVEN_NAME,
    attribute::MIDDLE_NAME,
    attribute::SEX,
    attribute::SAMPLE_SPECIFICATION,
    attribute::SCALE,
    attribute::SYSTEM_ID,
    attribute::SYSTEM_TYPE,
    attribute::TIME_ABSOLUTE,
    attribute::SAMPLE_PERIOD,
    attribute::TIME_RELATIVE,
    attribute::UNIT,
    attribute::FIXED_SAMPLES,
];

pub(crate) const POLL: u16 = 0x0C16;
pub(crate) const POLL_EXTENDED: u16 = 0xF13B;
pub(crate) const MDS_CREATE: u16 = 0x0D06;
pub(crate) const CONFIRMED_EVENT: u16 = 1;
pub(crate) const CONFIRMED_SET: u16 = 5;
pub(crate) const CONFIRMED_ACTION: u16 = 7;

/// Session and presentation layer, cut short to the first byte that names the message.
pub(crate) const CONNECT: u8 = 0x0D;
pub(crate) const ACCEPT: u8 = 0x0E;
pub(crate) const REFUSE: u8 = 0x0C;
pub(crate) const FINISH: u8 = 0x09;
pub(crate) const DISCONNECT: u8 = 0x0A;
pub(crate) const ABORT: u8 = 0x19;
/// Session id and presentation context of every data export message.
pub(crate) const EXPORT: [u8; 4] = [0xE1, 0x00, 0x00, 0x02];

pub(crate) const INVOKE: u16 = 1;
pub(crate) const RESULT: u16 = 2;
pub(crate) const ERROR: u16 = 3;
pub(crate) const LINKED: u16 = 5;

/// Bytes read from the front; `None` when there are too few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        let (head, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*head))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*head))
    }

    /// As many bytes as a length of 16 bits before them says.
    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A count and the bytes of its elements.
    pub(crate) fn list(&mut self) -> Option<(u16, Cursor<'a>)> {
        let count = self.u16()?;
        Some((count, Cursor(self.sized()?)))
    }
}

/// One message.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// Association control: its first byte and all of it.
    Session(u8, &'a [u8]),
    Operation(Operation<'a>),
}

/// A remote operation.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    /// [`INVOKE`], [`RESULT`], [`ERROR`] or [`LINKED`].
    pub(crate) kind: u16,
    pub(crate) invoke: u16,
    /// The command; of an error its number.
    pub(crate) command: u16,
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? {
            first @ (&CONNECT | &ACCEPT | &REFUSE | &FINISH | &DISCONNECT | &ABORT) => {
                Some(Self::Session(*first, bytes))
            }
            _ => {
                let mut cursor = Cursor(bytes.strip_prefix(EXPORT.as_slice())?);
                let kind = cursor.u16()?;
                let mut inner = Cursor(cursor.sized()?);
                if kind == LINKED {
                    inner.u16()?;
                }
                let (invoke, command) = (inner.u16()?, inner.u16()?);
                Some(Self::Operation(Operation { kind, invoke, command, body: inner.sized()? }))
            }
        }
    }
}

/// How long the message at the front of `bytes` is: `Ok(None)` when more bytes are needed to know, an error when no
/// message begins here.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let known = bytes.len().min(EXPORT.len());
    match bytes {
        [] => Ok(None),
        [CONNECT | ACCEPT | REFUSE | FINISH | DISCONNECT | ABORT, rest @ ..] => Ok(match rest {
            [] | [0xFF] | [0xFF, _] => None,
            [0xFF, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([*high, *low]))),
            [length, ..] => Some(2 + usize::from(*length)),
        }),
        _ if bytes.get(..known) == EXPORT.get(..known) => Ok(match bytes {
            [_, _, _, _, _, _, high, low, ..] => Some(8 + usize::from(u16::from_be_bytes([*high, *low]))),
            _ => None,
        }),
        _ => Err(()),
    }
}

/// The result of a poll, or one part of it.
#[derive(Debug)]
pub(crate) struct PollResult<'a> {
    /// Number of a result of a periodic poll; `None` for a single poll.
    pub(crate) sequence: Option<u16>,
    /// In 1/8 ms since the monitor was switched on.
    pub(crate) relative: u32,
    /// In BCD; FF where the monitor does not say.
    pub(crate) absolute: [u8; 8],
    pub(crate) class: u16,
    info: Cursor<'a>,
}

impl<'a> Operation<'a> {
    /// The poll result in a result or linked result, when it is one.
    pub(crate) fn poll_result(&self) -> Option<PollResult<'a>> {
        if !matches!(self.kind, RESULT | LINKED) || self.command != CONFIRMED_ACTION {
            return None;
        }
        let mut cursor = Cursor(self.body);
        cursor.take(6)?;
        let action = cursor.u16()?;
        let mut cursor = Cursor(cursor.sized()?);
        cursor.u16()?;
        let sequence = match action {
            POLL => None,
            POLL_EXTENDED => Some(cursor.u16()?),
            _ => return None,
        };
        let relative = cursor.u32()?;
        let absolute = *cursor.take(8)?.first_chunk()?;
        cursor.u16()?;
        let class = cursor.u16()?;
        cursor.u16()?;
        Some(PollResult { sequence, relative, absolute, class, info: cursor })
    }

    /// The time and attributes of an MDS Create Event.
    pub(crate) fn mds_create(&self) -> Option<(u32, Attributes<'a>)> {
        if (self.kind, self.command) != (INVOKE, CONFIRMED_EVENT) {
            return None;
        }
        let mut cursor = Cursor(self.body);
        cursor.take(6)?;
        let time = cursor.u32()?;
        if cursor.u16()? != MDS_CREATE {
            return None;
        }
        let mut cursor = Cursor(cursor.sized()?);
        cursor.take(6)?;
        Some((time, Attributes::read(&mut cursor)?))
    }
}

/// One object of a poll result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    pub(crate) context: u16,
    pub(crate) handle: u16,
    pub(crate) attributes: Attributes<'a>,
}

impl<'a> PollResult<'a> {
    /// Every object in it, in order; ends early where the bytes end early, and `false` then.
    pub(crate) fn objects(&self, mut each: impl FnMut(Object<'a>)) -> bool {
        let mut info = self.info;
        let Some((contexts, mut info)) = info.list() else { return false };
        for _ in 0..contexts {
            let Some(context) = info.u16() else { return false };
            let Some((count, mut polls)) = info.list() else { return false };
            for _ in 0..count {
                let Some(handle) = polls.u16() else { return false };
                let Some(attributes) = Attributes::read(&mut polls) else { return false };
                each(Object { context, handle, attributes });
            }
        }
        true
    }
}

/// A list of attributes: id and value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    left: u16,
    cursor: Cursor<'a>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn read(from: &mut Cursor<'a>) -> Option<Self> {
        let (left, cursor) = from.list()?;
        Some(Self { left, cursor })
    }

    pub(crate) fn find(mut self, id: u16) -> Option<&'a [u8]> {
        self.find_map(|(own, value)| (own == id).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let id = self.cursor.u16()?;
        Some((id, self.cursor.sized()?))
    }
}

/// What a monitor agreed to in its association response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// In 1/8 ms.
    pub(crate) min_poll_period: u32,
    /// Options of the extended poll; 0 where it is not offered.
    pub(crate) extended: u32,
}

/// Reads the user information of an association response; `None` when it is not as published.
pub(crate) fn agreed(response: &[u8]) -> Option<Agreed> {
    const MARK: [u8; 4] = [0xBE, 0x80, 0x28, 0x80];
    let at = response.windows(MARK.len()).position(|window| window == MARK)?;
    let mut cursor = Cursor(response.get(at + MARK.len()..)?);
    // An indirect reference may stand before the user information, whose tag is 81.
    loop {
        match cursor.u8()? {
            0x02 | 0x06 => {
                let length = cursor.u8()?;
                cursor.take(usize::from(length))?;
            }
            0x81 => break,
            _ => return None,
        }
    }
    let length = match cursor.u8()? {
        0x82 => usize::from(cursor.u16()?),
        0x81 => usize::from(cursor.u8()?),
        short @ 0..=0x7F => usize::from(short),
        _ => return None,
    };
    let mut user = Cursor(cursor.take(length)?);
    user.take(20)?;
    user.list()?;
    let mut support = Cursor(Attributes::read(&mut user)?.find(1)?);
    support.u32()?;
    let min_poll_period = support.u32()?;
    support.take(16)?;
    let extended = Attributes::read(&mut support)
        .and_then(|optional| optional.find(0xF001))
        .and_then(|package| Cursor(package).u32());
    Some(Agreed { min_poll_period, extended: extended.unwrap_or(0) })
}
