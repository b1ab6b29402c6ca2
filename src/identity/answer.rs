//! The answers of the patient index: RSP^K22, RSP^ZV2, RSP^K21, RSP^K23, ADR^A19 and the plain ACK.

use super::query::{Fault, Query, Question};
use super::{Issuers, Place, Visit, has_issuer};
use crate::clock::Timestamp;
use crate::device::{Identifier, Person};
use crate::hl7v2;

/// One patient of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patient {
    /// By which the answer goes on behind them.
    pub id: i64,
    pub person: Person,
    pub place: Option<Place>,
    pub visit: Option<Visit>,
}

/// Who was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Those of this answer.
    pub patients: Vec<Patient>,
    /// How many there are in all, those told before and those still to tell among them.
    pub total: usize,
    /// How many there are behind the last of them.
    pub left: usize,
}

/// Writes the answer to `query`, in its separators and charset. `zone` is the IANA zone of the link.
pub fn answer(
    query: &Query,
    found: Result<&Found, &Fault>,
    issuers: &Issuers,
    now: Timestamp,
    zone: &str,
) -> Vec<u8> {
    let found = match (&query.criteria, found) {
        (Err(fault), _) => Err(fault),
        (Ok(_), found) => found,
    };
    let writer = Writer { query, issuers, now, zone };
    let text = match query.question {
        Question::Enough => writer.msh(&["ACK", "J01", "ACK"]) + &writer.msa("AA", ""),
        _ => writer.whole(found),
    };
    query.charset.encode_lossy(&text)
}

struct Writer<'w> {
    query: &'w Query,
    issuers: &'w Issuers,
    now: Timestamp,
    zone: &'w str,
}

impl Writer<'_> {
    fn whole(&self, found: Result<&Found, &Fault>) -> String {
        let kind: &[&str] = match self.query.question {
            Question::Visits => &["RSP", "ZV2", "RSP_ZV2"],
            Question::Demographics => &["RSP", "K21", "RSP_K21"],
            Question::Numbers => &["RSP", "K23", "RSP_K23"],
            Question::Patient => &["ADR", "A19", "ADR_A19"],
            _ => &["RSP", "K22", "RSP_K21"],
        };
        let (code, text) = match found {
            Ok(_) => ("AA", ""),
            Err(fault) => ("AE", fault.text.as_str()),
        };
        let mut message = self.msh(kind) + &self.msa(code, text);
        if let Err(fault) = found {
            message += &self.err(fault);
        }
        message += &self.qak(found);
        for segment in &self.query.echoed {
            message += segment;
            message.push('\r');
        }
        let Ok(found) = found else { return message };
        for (at, patient) in found.patients.iter().enumerate() {
            message += &self.pid(at + 1, patient);
            if matches!(self.query.question, Question::Visits | Question::Patient) {
                message += &self.pv1(patient);
            }
        }
        if let Some(last) = found.patients.last().filter(|_| found.left > 0) {
            message += &self.segment(&["DSC".into(), format!("P{}", last.id), "I".into()]);
        }
        message
    }

    fn signs(&self) -> hl7v2::Writer {
        hl7v2::Writer::new(self.query.separators)
    }

    fn parts(&self, parts: &[&str]) -> String {
        self.signs().components(parts)
    }

    fn segment(&self, fields: &[String]) -> String {
        self.signs().segment(fields)
    }

    fn escaped(&self, text: &str) -> String {
        self.signs().line(text)
    }

    fn time(&self) -> String {
        let instant = jiff::Timestamp::from_microsecond(self.now.micros).ok();
        let local = instant.and_then(|instant| instant.in_tz(self.zone).ok());
        local.map(|local| local.strftime("%Y%m%d%H%M%S%z").to_string()).unwrap_or_default()
    }

    fn msh(&self, kind: &[&str]) -> String {
        let [app, facility, to, to_facility, _, processing, version, charset, profile] =
            self.query.head.clone();
        let encoding = self.signs().encoding();
        // Until 2.3 the type has two components (2.3 §2.24.1.9).
        let old = ["2.1", "2.2", "2.3"].contains(&version.as_str());
        let kind = if old { kind.get(..2).unwrap_or(kind) } else { kind };
        let none = String::new;
        let id = format!("{:X}P", self.now.micros);
        let mut fields = vec!["MSH".into(), encoding, to, to_facility, app, facility, self.time(), none()];
        fields.extend([self.parts(kind), id, processing, version]);
        fields.extend([none(), none(), none(), none(), none(), charset, none(), none(), profile]);
        self.segment(&fields)
    }

    fn msa(&self, code: &str, text: &str) -> String {
        let id = self.query.head.get(4).cloned().unwrap_or_default();
        let text: String = self.escaped(text).chars().take(80).collect();
        self.segment(&["MSA".into(), code.into(), id, text])
    }

    fn err(&self, fault: &Fault) -> String {
        let place = self.signs().own(fault.place);
        let code = self.parts(&[fault.code, fault.meaning, "HL70357"]);
        let none = String::new;
        let text = self.escaped(&fault.text);
        self.segment(&["ERR".into(), none(), place, code, "E".into(), none(), none(), none(), text])
    }

    fn qak(&self, found: Result<&Found, &Fault>) -> String {
        let [tag, name] = self.query.named.clone();
        let mut fields = vec!["QAK".into(), tag];
        match found {
            Err(_) => fields.extend(["AE".into(), name]),
            Ok(found) => {
                let status = if found.total == 0 { "NF" } else { "OK" };
                let here = found.patients.len();
                fields.extend([status.into(), name]);
                fields.extend([found.total, here, found.left].map(|number| number.to_string()));
            }
        }
        self.segment(&fields)
    }

    fn pid(&self, number: usize, patient: &Patient) -> String {
        let wanted = |one: &&Identifier| {
            let domains = &self.query.domains;
            domains.is_empty() || domains.iter().any(|domain| **domain == *one.system)
        };
        let account = |one: &&Identifier| one.kind.as_deref() == Some("AN");
        let visit = |one: &&Identifier| one.kind.as_deref() == Some("VN");
        let all = patient.person.identifiers.iter().filter(wanted);
        let numbers: Vec<String> =
            all.filter(|one| !account(one) && !visit(one)).map(|one| self.cx(one)).collect();
        let numbers = self.signs().repetitions(&numbers);
        let none = String::new;
        let head = ["PID".into(), number.to_string(), none(), numbers, none()];
        let person = &patient.person;
        if self.query.question == Question::Numbers {
            // Only numbers are told (ITI-9 §3.9.4.2.2.6): the name is a repetition of kind S.
            let name = self.signs().repetitions(&["", &self.parts(&["", "", "", "", "", "", "S"])]);
            return self.segment(&head.into_iter().chain([name]).collect::<Vec<_>>());
        }
        let text = |text: Option<&str>| text.map(|text| self.escaped(text)).unwrap_or_default();
        let given: Vec<String> = person.given.iter().map(|name| self.escaped(name)).collect();
        let family = text(person.family.as_deref());
        let (first, second) = given
            .split_first()
            .map_or((String::new(), String::new()), |(first, rest)| (first.clone(), rest.join(" ")));
        let name = match family.is_empty() && first.is_empty() {
            true => String::new(),
            false => self.parts(&[&family, &first, &second, "", "", "", "L"]),
        };
        let born = person.birth_date.as_deref().map(|date| date.replace('-', "")).unwrap_or_default();
        let sex = match person.gender.as_deref() {
            Some("male") => "M",
            Some("female") => "F",
            Some("other") => "O",
            Some(_) => "U",
            None => "",
        };
        let own = person.identifiers.iter().find(account).map(|one| self.cx(one)).unwrap_or_default();
        let mut fields: Vec<String> = head.into_iter().chain([name, none(), born, sex.into()]).collect();
        fields.resize(18, String::new());
        fields.push(own);
        self.segment(&fields)
    }

    /// The class of the visit (PV1-2) is not kept: `U`, unknown.
    fn pv1(&self, patient: &Patient) -> String {
        let place = patient.place.clone().unwrap_or_default();
        let part = |text: &Option<String>| text.as_deref().map(|text| self.escaped(text)).unwrap_or_default();
        let [ward, room, bed, facility] =
            [&place.point_of_care, &place.room, &place.bed, &place.facility].map(part);
        let location = self.parts(&[&ward, &room, &bed, &facility]);
        let visit = patient.visit.as_ref().map(|visit| {
            let number = Identifier {
                system: visit.system.as_str().into(),
                value: visit.number.as_str().into(),
                kind: Some("VN".into()),
            };
            self.cx(&number)
        });
        let mut fields = vec!["PV1".into(), "1".into(), "U".into(), location];
        fields.resize(19, String::new());
        fields.push(visit.unwrap_or_default());
        self.segment(&fields)
    }

    /// CX, with the authority under the name the site's messages use, where one is configured.
    fn cx(&self, one: &Identifier) -> String {
        let own = |text: &str| self.escaped(text);
        let (oid, authority) =
            (one.system.strip_prefix("urn:oid:"), one.system.strip_prefix("urn:bedside:authority:"));
        let named =
            self.issuers.named.iter().find(|(_, uri)| **uri == *one.system).map(|(name, _)| own(name));
        let hd = match (oid, authority) {
            _ if !has_issuer(&one.system) => String::new(),
            (Some(oid), _) => {
                self.signs().subcomponents(&[named.unwrap_or_default(), own(oid), "ISO".into()])
            }
            (None, Some(authority)) => own(authority),
            (None, None) => {
                self.signs().subcomponents(&[named.unwrap_or_default(), own(&one.system), "URI".into()])
            }
        };
        self.parts(&[&own(&one.value), "", "", &hd, &own(one.kind.as_deref().unwrap_or_default())])
    }
}
