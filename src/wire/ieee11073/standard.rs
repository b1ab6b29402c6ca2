//! Standard configurations: what an agent with one of these numbers has told by the number alone.

/// Class of a numeric object (`MDC_MOC_VMO_METRIC_NU`).
const NUMERIC: u16 = 6;
const ATTR_ID_TYPE: u16 = 0x092F;
const ATTR_UNIT_CODE: u16 = 0x0996;
const ATTR_VALUE_MAP: u16 = 0x0A55;
const ATTR_ID_PHYSIO_LIST: u16 = 0x0A76;
/// Basic-Nu-Observed-Value: SFLOAT.
const BASIC: (u16, u16) = (0x0A4C, 2);
/// Simple-Nu-Observed-Value: FLOAT.
const SIMPLE: (u16, u16) = (0x0A56, 4);
/// Compound-Basic-Nu-Observed-Value of three.
const COMPOUND: (u16, u16) = (0x0A75, 10);
/// Absolute-Time-Stamp.
const STAMP: (u16, u16) = (0x0990, 8);

struct Object {
    handle: u16,
    kind: u16,
    unit: u16,
    members: &'static [u16],
    map: &'static [(u16, u16)],
}

struct Standard {
    id: u16,
    objects: &'static [Object],
}

const PERCENT: u16 = 0x0220;
const PER_MINUTE: u16 = 0x0AA0;

const SPO2: Object = Object { handle: 1, kind: 0x4BB8, unit: PERCENT, members: &[], map: &[BASIC] };
const PULSE: Object = Object { handle: 10, kind: 0x481A, unit: PER_MINUTE, members: &[], map: &[BASIC] };

/// From ISO/IEEE 11073-10404 (0190, 0191), -10407 (02BC), -10408 (0320), -10415 (05DC), -10417 (06A4).
const STANDARDS: &[Standard] = &[
    Standard { id: 0x0190, objects: &[SPO2, PULSE] },
    Standard {
        id: 0x0191,
        objects: &[Object { map: &[BASIC, STAMP], ..SPO2 }, Object { map: &[BASIC, STAMP], ..PULSE }],
    },
    Standard {
        id: 0x02BC,
        objects: &[
            Object {
                handle: 1,
                kind: 0x4A04,
                unit: 0x0F20,
                members: &[0x4A05, 0x4A06, 0x4A07],
                map: &[COMPOUND, STAMP],
            },
            Object { handle: 2, kind: 0x482A, unit: PER_MINUTE, members: &[], map: &[BASIC, STAMP] },
        ],
    },
    Standard {
        id: 0x0320,
        objects: &[Object { handle: 1, kind: 0x4B5C, unit: 0x17A0, members: &[], map: &[SIMPLE, STAMP] }],
    },
    Standard {
        id: 0x05DC,
        objects: &[Object { handle: 1, kind: 0xE140, unit: 0x06C3, members: &[], map: &[SIMPLE, STAMP] }],
    },
    Standard {
        id: 0x06A4,
        objects: &[Object { handle: 1, kind: 0x71B8, unit: 0x0852, members: &[], map: &[BASIC, STAMP] }],
    },
];

/// Whether an agent with this configuration need not tell it.
pub fn is_standard(id: u16) -> bool {
    STANDARDS.iter().any(|standard| standard.id == id)
}

/// The objects of a standard configuration as the agent would tell them: a ConfigObjectList in MDER.
pub fn configuration(id: u16) -> Option<Vec<u8>> {
    let standard = STANDARDS.iter().find(|standard| standard.id == id)?;
    let objects: Vec<Vec<u8>> = standard.objects.iter().map(Object::encode).collect();
    Some(list(objects.len(), &objects.concat()))
}

impl Object {
    fn encode(&self) -> Vec<u8> {
        let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let pairs: Vec<u16> = self.map.iter().flat_map(|(id, length)| [*id, *length]).collect();
        let mut attributes = vec![
            attribute(ATTR_ID_TYPE, &words(&[2, self.kind])),
            attribute(ATTR_UNIT_CODE, &words(&[self.unit])),
            attribute(ATTR_VALUE_MAP, &list(self.map.len(), &words(&pairs))),
        ];
        if !self.members.is_empty() {
            attributes.push(attribute(ATTR_ID_PHYSIO_LIST, &list(self.members.len(), &words(self.members))));
        }
        let mut object = words(&[NUMERIC, self.handle]);
        object.extend(list(attributes.len(), &attributes.concat()));
        object
    }
}

/// An attribute with its length before its value.
pub fn attribute(id: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(super::apdu::counted(value));
    bytes
}

/// SEQUENCE OF: count, length, elements.
pub fn list(count: usize, elements: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    bytes.extend(super::apdu::counted(elements));
    bytes
}
