//! What a page may say, as JSON Schema 2020-12 for editors (`bedside profile schema`).
//!
//! The table here is what is published; a test reads pages with the parser's own ears open and holds that the table
//! lists exactly the sections, keys and words the parser asks for. The settings of `[link]` come from the codecs.

/// What may stand at a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Text,
    /// One text or a list of them.
    Texts,
    /// A place in the words of the grammar, or places in the order in which they are tried.
    Places,
    Place,
    Integer(u64, u64),
    Integers(u64, u64),
    /// A number, or a text that is one exactly.
    Number,
    Boolean,
    Word(&'static [&'static str]),
    /// The section of this name.
    Table(&'static str),
    /// `[[name]]`, or a list of inline tables.
    Tables(&'static str),
    /// Free keys, each with this.
    Each(&'static Shape),
    Any(&'static [Shape]),
}

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) needed: bool,
    pub(super) says: &'static str,
}

const fn key(name: &'static str, shape: Shape, says: &'static str) -> Key {
    Key { name, shape, needed: false, says }
}

const fn needed(name: &'static str, shape: Shape, says: &'static str) -> Key {
    Key { name, shape, needed: true, says }
}

const MDC_MAX: u64 = u32::MAX as u64;
const REASONS: Shape = Shape::Word(&[
    "unknown",
    "temp-unknown",
    "not-performed",
    "error",
    "not-applicable",
    "unsupported",
    "asked-unknown",
]);
const MISSING: Shape = Shape::Any(&[Shape::Texts, Shape::Each(&REASONS)]);
const DOMAINS: Shape = Shape::Word(&["vital-signs", "laboratory", "device"]);
const CODING: Shape = Shape::Table("coding");

/// Every section by the name its faults use; `""` is the page.
pub(super) const SECTIONS: &[(&str, &[Key])] = &[
    (
        "",
        &[
            needed(
                "device",
                Shape::Table("device"),
                "What the device is, and against what the page was tried",
            ),
            key("transport", Shape::Table("transport"), "Settings to suggest when a link is made"),
            needed("link", Shape::Table("link"), "How frames are cut out of the bytes"),
            key("session", Shape::Table("session"), "The only bytes that may be sent to the device"),
            key(
                "identify",
                Shape::Table("identify"),
                "How the device is recognised, and where it says who it is",
            ),
            needed("record", Shape::Table("record"), "How a frame is taken apart"),
            key("orders", Shape::Table("orders"), "How the queries of an analyser are answered (astm, hl7)"),
            key("value", Shape::Table("value"), "How values are written"),
            key("time", Shape::Table("time"), "Where times stand and how they are written"),
            key("subject", Shape::Table("subject"), "Where the person stands"),
            key("specimen", Shape::Table("specimen"), "Where the sample stands"),
            key("place", Shape::Table("place"), "Where ward, room and bed stand"),
            key(
                "quality_control",
                Shape::Tables("quality_control"),
                "What marks a control, never a patient's result",
            ),
            key("group", Shape::Tables("group"), "Values of one act of measuring, such as a cuff pressure"),
            key(
                "metric",
                Shape::Tables("metric"),
                "What the device measures; hl7 and native pages know standard codes",
            ),
            key("test", Shape::Tables("test"), "The captures of the folder"),
        ],
    ),
    (
        "device",
        &[
            needed("manufacturer", Shape::Text, "Who makes it"),
            needed("model", Shape::Text, "What it is called"),
            key("firmware", Shape::Text, "The firmware versions the page was written for"),
            key("mdc_type", Shape::Integer(1, MDC_MAX), "MDC number of the kind of device"),
            key(
                "point_of_care",
                Shape::Boolean,
                "true for bedside devices, false for personal and spot devices",
            ),
            needed(
                "verified",
                Shape::Word(&["document", "simulator", "bench", "clinic"]),
                "Against what the page was tried; only a real device raises it",
            ),
            key("caveat", Shape::Tables("device.caveat"), "Known faults and limits"),
        ],
    ),
    (
        "device.caveat",
        &[
            needed("text", Shape::Text, "What a reader must know"),
            needed("source", Shape::Text, "Where it is written"),
        ],
    ),
    (
        "transport",
        &[
            key("serial", Shape::Table("transport.serial"), "RS-232 or USB"),
            key("tcp", Shape::Table("transport.tcp"), "TCP"),
            key("udp", Shape::Table("transport.udp"), "Datagrams: this box dials"),
            key("mqtt", Shape::Table("transport.mqtt"), "MQTT"),
            key("folder", Shape::Table("transport.folder"), "Files left in a folder"),
        ],
    ),
    (
        "transport.folder",
        &[
            key(
                "files",
                Shape::Text,
                "Names of the files, with * and ?, and commas between; * when not said",
            ),
            key(
                "settle_s",
                Shape::Integer(0, 3600),
                "How long a whole file does not change; 5 when not said",
            ),
        ],
    ),
    (
        "transport.serial",
        &[
            key("baud", Shape::Integers(300, 4_000_000), "The usual rate first, then others in use"),
            key("data_bits", Shape::Integer(7, 8), "8 when not said"),
            key("parity", Shape::Word(&["none", "even", "odd"]), "none when not said"),
            key("stop_bits", Shape::Integer(1, 2), "1 when not said"),
            key("flow", Shape::Word(&["none", "hardware", "software"]), "none when not said"),
            key("dtr", Shape::Boolean, "The DTR line while connected"),
            key("rts", Shape::Boolean, "The RTS line while connected"),
            key(
                "quiet_timeout_s",
                Shape::Integer(1, 86_400),
                "Silence longer than this means the device is gone",
            ),
        ],
    ),
    (
        "transport.tcp",
        &[
            needed(
                "role",
                Shape::Word(&["listen", "connect"]),
                "listen: the device dials; connect: this box dials",
            ),
            key("port", Shape::Integer(1, 65_535), "The usual port"),
        ],
    ),
    ("transport.udp", &[key("port", Shape::Integer(1, 65_535), "The usual port; 24105 when not said")]),
    (
        "transport.mqtt",
        &[
            needed("topics", Shape::Texts, "Topic filters to subscribe to"),
            key("qos", Shape::Integer(0, 2), "1 when not said"),
        ],
    ),
    (
        "session",
        &[
            key("on_connect", Shape::Tables("session.on_connect"), "Sent once, in this order"),
            key("poll", Shape::Tables("session.poll"), "Sent again and again"),
            key("keep_alive", Shape::Tables("session.keep_alive"), "Sent so that the device stays"),
            key("reply", Shape::Tables("session.reply"), "Sent when the device says `after`"),
            key("never", Shape::Texts, "Bytes that must not be in anything sent"),
        ],
    ),
    ("session.on_connect", &[SEND, EXPECT, TIMEOUT, RETRIES]),
    ("session.poll", &[SEND, EXPECT, EVERY, TIMEOUT, RETRIES]),
    ("session.keep_alive", &[SEND, EXPECT, EVERY, TIMEOUT, RETRIES]),
    ("session.reply", &[needed("after", Shape::Text, "What the device says"), SEND]),
    (
        "identify",
        &[
            key("fits", Shape::Text, "Regular expression that recognises a frame of this device"),
            key("manufacturer", Shape::Places, "Where the maker stands"),
            key("model", Shape::Places, "Where the model stands"),
            key("serial", Shape::Places, "Where the serial number stands"),
            key("firmware", Shape::Places, "Where the firmware version stands"),
            key("id", Shape::Places, "Where the device's own identifier stands"),
            key("id_kind", Shape::Word(&["local", "eui-64", "bluetooth-mac"]), "local when not said"),
        ],
    ),
    (
        "record",
        &[
            needed(
                "grammar",
                Shape::Word(&[
                    "key-value",
                    "regex",
                    "columns",
                    "csv",
                    "bytes",
                    "astm",
                    "hl7",
                    "json",
                    "xml",
                    "gdt",
                    "intellivue",
                    "medibus",
                    "nonin",
                    "dri",
                    "ieee11073-20601",
                    "sparkplug",
                ]),
                "In which words places are named",
            ),
            key("accept", Shape::Text, "Lines that do not fit this regular expression are cut and told"),
            key("whole", Shape::Boolean, "true: the whole frame is one record"),
            key("context", Shape::Texts, "text: lines whose named groups hold for the lines after them"),
            key(
                "joined",
                Shape::Any(&[Shape::Boolean, Shape::Text]),
                "text: true, all lines of a frame are one record; a name, those that share it are",
            ),
            key("begins", Shape::Text, "text: where another record begins among joined lines"),
            key("line_end", Shape::Text, "text: ends a line instead of CR and LF"),
            key("key_width", Shape::Integer(1, 64), "key-value: the key is so many characters wide"),
            key("header", Shape::Text, "csv: a line that fits names the columns"),
            key(
                "preamble",
                Shape::Boolean,
                "csv: lines above the header such as `Key: Value` are read as `@Key`",
            ),
            key(
                "least",
                Shape::Integer(1, 1000),
                "csv: rows of fewer fields are cut; as the header when not said",
            ),
            key(
                "charset",
                Shape::Text,
                "text and gdt: cp437, cp850, windows-1252 … where a frame is not UTF-8",
            ),
            key("layout", Shape::Tables("record.layout"), "csv and bytes: which field stands where"),
            key("assign", Shape::Text, "key-value: between key and value; = when not said"),
            key("separator", Shape::Text, "Between fields; key-value: blanks when not said"),
            key("pattern", Shape::Texts, "regex: patterns with named groups; the first that fits"),
            key("columns", Shape::Texts, "columns: their names in order"),
            key("widths", Shape::Integers(1, 1000), "columns: their widths in characters"),
            key("items", Shape::Places, "json and xml: where the records are; a step * goes into every item"),
            key("all_items", Shape::Boolean, "json: read all places of `items`, not the first that is there"),
            key(
                "code",
                Shape::Places,
                "json, xml and csv: where an item says what it is, for `match = \"code:…\"`",
            ),
            key(
                "value",
                Shape::Places,
                "json, xml and csv: where the value of such an item stands; astm: where values stand",
            ),
            key("unlisted", Shape::Places, "json: objects whose unknown members are kept"),
            key("test", Shape::Texts, "astm: where the code of a test stands"),
            key("test_cut", Shape::Text, "astm: what ends the code within its field"),
            key("taken", Shape::Places, "astm: where the time of a result stands"),
            key("flag_separator", Shape::Text, "astm: between flags of one field"),
            key("system", Shape::Places, "xml: where the system of the code stands"),
            key("name", Shape::Places, "xml: where the words of the code stand"),
            key("unit", Shape::Places, "xml: where the unit stands"),
            key("absent", Shape::Places, "xml: where it is said that there is no value"),
            key("flags", Shape::Places, "xml: where flags stand"),
            key("range", Shape::Places, "xml: where the reference range stands"),
            key("status", Shape::Places, "xml: where the status of the result stands"),
            key(
                "statuses",
                Shape::Each(&Shape::Word(&["final", "preliminary", "corrected", "rejected"])),
                "xml: the device's word for a status → ours",
            ),
            key("order", Shape::Places, "xml: where the order's number stands"),
            key("remark", Shape::Tables("record.remark"), "xml: what is kept as a note"),
            key("known", Shape::Places, "xml: places that are known and say nothing to deliver"),
            key("ignore", Shape::Tables("record.ignore"), "Records that carry nothing to deliver"),
        ],
    ),
    (
        "record.remark",
        &[
            needed("at", Shape::Place, "Where it stands"),
            key("label", Shape::Text, "What it is, for people"),
            key("texts", Shape::Each(&Shape::Text), "The device's word → words for people"),
        ],
    ),
    (
        "record.layout",
        &[
            key("matches", Shape::Text, "csv: the records it is for, as a regular expression"),
            key("starts", Shape::Text, "bytes: what its frames begin with"),
            key(
                "least",
                Shape::Integer(1, 100_000),
                "A record with fewer fields or bytes is cut and not read",
            ),
            key(
                "fields",
                Shape::Each(&Shape::Any(&[Shape::Integer(1, 10_000), Shape::Text])),
                "csv: the number of each field; bytes: offset and kind, such as `2 i16-be`",
            ),
        ],
    ),
    (
        "record.ignore",
        &[
            key("at", Shape::Place, "A place; without `equals` it is enough that it says something"),
            key("equals", Shape::Texts, "The texts it may hold"),
            key("absent", Shape::Boolean, "true: when the place says nothing"),
            key("matches", Shape::Text, "Regular expression on the whole record"),
            needed("reason", Shape::Text, "Why it carries nothing, for the desk"),
        ],
    ),
    (
        "orders",
        &[
            key("from", Shape::Places, "Where a query names its specimen (Q-3.2)"),
            key("cancel", Shape::Texts, "What Q-13 says when a query is taken back"),
            key("header", Shape::Text, "Template of the H record"),
            key("patient", Shape::Text, "Template of the P record"),
            key("order", Shape::Text, "Template of the O record"),
            key("test", Shape::Text, "Template of one test within the O record"),
            key("one_test_per_record", Shape::Boolean, "true: an O record for each test"),
            key("end", Shape::Text, "Template of the L record"),
            key("nothing", Shape::Texts, "Records sent when there is no order"),
            key("routine", Shape::Text, "The word for routine"),
            key("urgent", Shape::Text, "The word for urgent"),
            key(
                "codes",
                Shape::Each(&Shape::Text),
                "Codes that are ordered by another one: local, LOINC or the result's own → the analyser's",
            ),
            key("service", Shape::Text, "HL7: OBR-4 of an order whose tests are told by rows"),
            key("row", Shape::Text, "HL7: OBX-3 of a row that tells a test"),
        ],
    ),
    (
        "value",
        &[
            key("missing", MISSING, "Texts that stand for no value, with the reason they give"),
            key(
                "decimal",
                Shape::Word(&["point", "comma", "either"]),
                "The sign before decimals; point when not said",
            ),
            key("unit_in_value", Shape::Boolean, "A unit may follow the number (098%)"),
            key("flags", Shape::Each(&Shape::Text), "Flag → HL7 table 0078 code, a status word, or nothing"),
            key("bits", Shape::Tables("value.bits"), "Status words of the device, bit by bit"),
        ],
    ),
    (
        "value.bits",
        &[
            needed("from", Shape::Place, "Where the status word stands"),
            key("base", Shape::Integer(2, 16), "16 when not said"),
            key("bits", Shape::Each(&Shape::Text), "Bit number → what it means, as in `flags`"),
            key("only", Shape::Texts, "The metrics it speaks of, by their `match`; all when not said"),
        ],
    ),
    ("time", TIME),
    (
        "subject",
        &[
            key("id", Shape::Places, "Where the person's identifier stands"),
            key("system", Shape::Text, "Who gave the identifier, as a URI"),
            key("kind", Shape::Text, "HL7 table 0203 code of the identifier, such as MR or NI"),
            key("family", Shape::Places, "Where the family name stands"),
            key("given", Shape::Places, "Where the given name stands"),
            key("birth_date", Shape::Places, "Where the birth date stands"),
            key("gender", Shape::Places, "Where the sex stands"),
            key("unknown", Shape::Texts, "Identifiers that stand for nobody"),
        ],
    ),
    (
        "specimen",
        &[
            key("id", Shape::Places, "Where the sample's number stands"),
            key("kind", Shape::Places, "Where the kind of sample stands"),
            key("unreadable", Shape::Texts, "What stands there when the code could not be read"),
        ],
    ),
    (
        "place",
        &[
            key("point_of_care", Shape::Places, "Where the ward stands"),
            key("room", Shape::Places, "Where the room stands"),
            key("bed", Shape::Places, "Where the bed stands"),
            key("facility", Shape::Places, "Where the house stands"),
        ],
    ),
    (
        "quality_control",
        &[
            needed(
                "at",
                Shape::Place,
                "A place; without `equals` or `matches` it is enough that it says something",
            ),
            key("equals", Shape::Texts, "The texts that mark a control"),
            key("matches", Shape::Text, "Regular expression that marks a control"),
            key(
                "result",
                Shape::Table("quality_control.result"),
                "hl7: the result, where the order holds it",
            ),
        ],
    ),
    (
        "quality_control.result",
        &[
            needed("code", Shape::Place, "Where the test's code stands"),
            needed("value", Shape::Place, "Where the value stands"),
            key("name", Shape::Place, "Where the test's name stands"),
            key("unit", Shape::Place, "Where the unit stands"),
            key("taken", Shape::Place, "Where the time stands"),
            key("remarks", Shape::Places, "What is kept as a note: control, lot, target"),
        ],
    ),
    (
        "group",
        &[
            needed("name", Shape::Text, "How metrics name it"),
            key("mdc", Shape::Integer(1, MDC_MAX), "MDC number of the whole"),
            key("label", Shape::Text, "A few words for people"),
            key("loinc", Shape::Texts, "LOINC codes of the whole"),
            key("codings", Shape::Tables("coding"), "Other codes of the whole"),
            key("domain", DOMAINS, "vital-signs when not said"),
        ],
    ),
    (
        "metric",
        &[
            needed(
                "match",
                Shape::Any(&[
                    Shape::Text,
                    Shape::Table("metric.match"),
                    Shape::Tables("metric.match"),
                    Shape::Texts,
                ]),
                "The device's code or place for it",
            ),
            key("mdc", Shape::Integer(1, MDC_MAX), "MDC number"),
            key("label", Shape::Text, "A few words for people"),
            key(
                "loinc",
                Shape::Any(&[Shape::Texts, Shape::Tables("metric.loinc")]),
                "LOINC codes, or codes with the units and specimens they are true for",
            ),
            key("codings", Shape::Tables("coding"), "Other codes that always hold"),
            key(
                "as",
                Shape::Word(&["quantity", "component", "coded", "text", "ignore"]),
                "What the value is read as; quantity when not said",
            ),
            key(
                "class",
                Shape::Word(&[
                    "measurement",
                    "setting",
                    "calculation",
                    "quality-control",
                    "alarm",
                    "waveform",
                ]),
                "measurement when not said",
            ),
            key("domain", DOMAINS, "Which kind of Observation it becomes"),
            key(
                "site",
                Shape::Any(&[Shape::Integer(1, MDC_MAX), CODING]),
                "Body site: MDC number or a coding",
            ),
            key("group", Shape::Text, "The [[group]] it is a member of"),
            key("unit", Shape::Text, "UCUM unit when the device states none"),
            key(
                "units",
                Shape::Each(&Shape::Any(&[Shape::Text, Shape::Table("metric.units")])),
                "Device's unit → UCUM",
            ),
            key("pick", Shape::Text, "A pattern whose first group is the value"),
            key("unit_from", Shape::Place, "Where the unit stands"),
            key("flags_from", Shape::Place, "Where flags stand"),
            key("range_from", Shape::Place, "Where the reference range stands"),
            key("scale", Shape::Number, "The value is multiplied by this"),
            key("offset", Shape::Number, "This is then added"),
            key("decimals", Shape::Integer(0, 9), "Digits after the point that the device really has"),
            key("missing", MISSING, "Texts that stand for no value in this metric"),
            key(
                "values",
                Shape::Each(&Shape::Any(&[CODING, Shape::Tables("coding")])),
                "Answer of the device → coding",
            ),
            key(
                "when",
                Shape::Any(&[Shape::Text, Shape::Each(&Shape::Texts)]),
                "A CEL condition (`value > 0 && mode == 'Body'`), or place → texts that must stand there",
            ),
            key(
                "named",
                Shape::Texts,
                "hl7: what the row must call the code, where its numbers are set up in the device",
            ),
            key("time", Shape::Table("metric.time"), "This metric's own time"),
        ],
    ),
    (
        "metric.match",
        &[
            needed("code", Shape::Text, "The code"),
            key("system", Shape::Text, "Its coding system; any when not said"),
        ],
    ),
    (
        "metric.loinc",
        &[
            needed("code", Shape::Text, "LOINC code"),
            key("unit", Shape::Texts, "UCUM units in which it is true"),
            key(
                "specimen",
                Shape::Texts,
                "Specimens for which it is true; an empty text stands for none said",
            ),
        ],
    ),
    (
        "metric.units",
        &[
            needed("ucum", Shape::Text, "UCUM unit"),
            key("scale", Shape::Number, "The value is multiplied by this"),
            key("offset", Shape::Number, "This is then added"),
        ],
    ),
    ("metric.time", TIME),
    (
        "coding",
        &[
            needed("system", Shape::Text, "URI, or MDC, LN, SCT"),
            needed("code", Shape::Text, "The code"),
            key("display", Shape::Text, "Its words"),
        ],
    ),
    (
        "test",
        &[
            needed("capture", Shape::Text, "File name under captures/"),
            key("topic", Shape::Text, "The MQTT topic it came on"),
            key("replay", Shape::Boolean, "Good to be sent again and again by a simulated device"),
            key("note", Shape::Text, "What it shows"),
        ],
    ),
];

const TIME: &[Key] = &[
    key("from", Shape::Places, "Places in order of trust; parts of one place with blanks between"),
    key("formats", Shape::Texts, "epoch-s, epoch-ms, rfc3339, hl7, or a pattern such as %d/%m/%Y %H:%M:%S"),
    key("zone", Shape::Text, "IANA zone of the device's clock; the link's when not said"),
    key(
        "max_skew_s",
        Shape::Integer(1, 10_000_000),
        "Further off than this, the time of receipt is taken and told",
    ),
];
const SEND: Key = needed("send", Shape::Text, "The bytes: a text with \\x05, or hex:02 70 03");
const EXPECT: Key = key("expect", Shape::Texts, "What the device answers");
const EVERY: Key = needed("every_ms", Shape::Integer(10, 86_400_000), "How often");
const TIMEOUT: Key = key("timeout_ms", Shape::Integer(10, 600_000), "How long the answer may take");
const RETRIES: Key = key("retries", Shape::Integer(0, 20), "How often it is asked again");
