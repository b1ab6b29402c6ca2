//! The keys of `[record]`, for editors.

use super::{Key, Shape, key, needed};

pub(super) const RECORD: &[Key] = &[
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
    key("context", Shape::Texts, "Lines whose named groups hold for the lines after them"),
    key(
        "joined",
        Shape::Any(&[Shape::Boolean, Shape::Text]),
        "true: a frame is one record; or the field by whose text lines are joined",
    ),
    key("begins", Shape::Text, "With `joined = true`: a line that fits begins another record"),
    key("line_end", Shape::Text, "What ends a line instead of CR and LF"),
    key("charset", Shape::Text, "cp437, cp850, windows-1252 …: where a frame is not UTF-8"),
    key("header", Shape::Text, "csv: regular expression of the line that names the columns"),
    key("preamble", Shape::Boolean, "csv: lines above the header such as `Key: Value` are read as `@Key`"),
    key("least", Shape::Integer(1, 1000), "csv: rows of fewer fields are cut; as the header when not said"),
    key("layout", Shape::Tables("record.layout"), "csv and bytes: which field is which"),
    key("accept", Shape::Text, "Lines that do not fit this regular expression are cut and told"),
    key("whole", Shape::Boolean, "true: the whole frame is one record"),
    key("assign", Shape::Text, "key-value: between key and value; = when not said"),
    key("separator", Shape::Text, "Between fields; key-value: blanks when not said"),
    key("key_width", Shape::Integer(1, 64), "key-value: keys of so many characters, without a sign between"),
    key("pattern", Shape::Texts, "regex: patterns with named groups; the first that fits"),
    key("columns", Shape::Texts, "columns: their names in order"),
    key("widths", Shape::Integers(1, 1000), "columns: their widths in characters"),
    key("items", Shape::Places, "json and xml: where the records are; a step * goes into every item"),
    key("all_items", Shape::Boolean, "json: read all places of `items`, not the first that is there"),
    key("code", Shape::Places, "json, xml and csv: where an item says what it is, for `match = \"code:…\"`"),
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
];

pub(super) const LAYOUT: &[Key] = &[
    key("matches", Shape::Text, "Regular expression of the lines it is for"),
    key("starts", Shape::Text, "How such a record begins: a text with \\x05, or hex:02 70 03"),
    needed("least", Shape::Integer(1, 100_000), "With fewer fields, or bytes, a record is cut"),
    key(
        "fields",
        Shape::Each(&Shape::Any(&[Shape::Integer(1, 100_000), Shape::Text])),
        "Name → number of the field from 1; of bytes such as \"2 i16-be\"",
    ),
];

pub(super) const REMARK: &[Key] = &[
    needed("at", Shape::Place, "Where it stands"),
    key("label", Shape::Text, "What it is, for people"),
    key("texts", Shape::Each(&Shape::Text), "The device's word → words for people"),
];

pub(super) const IGNORE: &[Key] = &[
    key("at", Shape::Place, "A place; without `equals` it is enough that it says something"),
    key("equals", Shape::Texts, "The texts it may hold"),
    key("matches", Shape::Text, "Regular expression on the whole record"),
    needed("reason", Shape::Text, "Why it carries nothing, for the desk"),
];
