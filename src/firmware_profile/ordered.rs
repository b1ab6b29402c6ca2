//! What is ordered, in whoever's code, and the code an analyser wants to hear it by.

use serde::{Deserialize, Serialize};

use super::FirmwareProfile;
use crate::device::{Coding, LOINC, MDC};

/// One test as it was ordered. At least one of the two codes is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedTest {
    /// A local code: the analyser's own, or one that its page knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loinc: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl OrderedTest {
    /// A code as a person typed it: a LOINC code when its check digit says so, and else a local one.
    pub fn typed(code: &str) -> Self {
        let code = code.trim().to_owned();
        let loinc = is_loinc(&code).then(|| code.clone());
        Self { own: Some(code), loinc, text: None }
    }

    /// What people call it by.
    pub fn name(&self) -> &str {
        [&self.own, &self.loinc, &self.text].into_iter().flatten().next().map_or("", String::as_str)
    }

    /// Whether both order the same.
    pub fn same(&self, other: &Self) -> bool {
        let both = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        both(&self.own, &other.own) || both(&self.loinc, &other.loinc)
    }
}

/// Whether a text is a LOINC code: digits, a hyphen and the check digit of LOINC Users' Guide, appendix C (mod 10).
pub fn is_loinc(code: &str) -> bool {
    let Some((number, check)) = code.split_once('-') else { return false };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if number.is_empty() || number.len() > 7 || check.len() != 1 || !digits(number) || !digits(check) {
        return false;
    }
    let weighed = number.bytes().rev().zip([2_u32, 1].into_iter().cycle()).map(|(byte, weight)| {
        let product = u32::from(byte - b'0') * weight;
        product / 10 + product % 10
    });
    let sum: u32 = weighed.sum();
    check.bytes().all(|byte| u32::from(byte - b'0') == (10 - sum % 10) % 10)
}

impl FirmwareProfile {
    /// Whether the page speaks of this code of the device's own.
    pub fn lists(&self, own: &str) -> bool {
        self.plan.orders.as_ref().is_some_and(|rules| rules.code(own).is_some())
            || self.own_matches().any(|(code, _)| code == own)
    }

    /// The code by which this analyser wants `test` ordered; `None` when the page does not tell. A local code that
    /// the page does not list is not turned: see [`FirmwareProfile::lists`].
    pub fn order_code(&self, test: &OrderedTest) -> Option<String> {
        let rules = self.plan.orders.as_ref()?;
        let named = [&test.own, &test.loinc].into_iter().flatten();
        if let Some(code) = named.clone().find_map(|code| rules.code(code)) {
            return Some(code.to_owned());
        }
        if let Some(own) = test.own.as_ref().filter(|own| self.lists(own)) {
            return Some(own.clone());
        }
        let loinc = test.loinc.as_deref()?;
        self.own_matches()
            .find(|(_, metric)| {
                metric.named.is_empty() && metric.loincs.iter().any(|rule| &*rule.code == loinc)
            })
            .map(|(code, _)| rules.code(code).unwrap_or(code).to_owned())
    }

    /// Whether a measurement with these codes is a result of `test`.
    pub fn measures(&self, test: &OrderedTest, codings: &[Coding]) -> bool {
        let wanted = self.order_code(test);
        codings.iter().any(|coding| match &*coding.system {
            LOINC => test.loinc.as_deref() == Some(&*coding.code),
            MDC => false,
            _ => {
                let own = &*coding.code;
                let ordered = self.plan.orders.as_ref().and_then(|rules| rules.code(own)).unwrap_or(own);
                let codes = [test.own.as_deref(), wanted.as_deref()];
                codes.contains(&Some(own)) || codes.contains(&Some(ordered))
            }
        })
    }

    /// The device's own codes of the metrics the page lists.
    fn own_matches(&self) -> impl Iterator<Item = (&str, &super::metric::MetricDef)> {
        let table = &self.plan.table;
        table.metrics.iter().take(table.listed).flat_map(|metric| {
            let own = metric.matches.iter().filter(|own| !matches!(own.system.as_deref(), Some(LOINC | MDC)));
            own.map(move |own| (&*own.code, metric))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(orders: &str) -> FirmwareProfile {
        let text = format!(
            "[device]\nmanufacturer = \"T\"\nmodel = \"T\"\nverified = \"simulator\"\n[transport.tcp]\nrole = \"listen\"\nport = 4000\n[link]\ncodec = \"astm\"\n[record]\ngrammar = \"astm\"\n{orders}\n[[metric]]\nmatch = [\"GLUC\", \"GLU\"]\nlabel = \"Glucose\"\nloinc = \"2345-7\"\n[[metric]]\nmatch = \"21 hCG F\"\nlabel = \"hCG\"\nloinc = \"19080-1\"\n"
        );
        FirmwareProfile::parse("t/t", &text).unwrap_or_else(|faults| panic!("{}", faults[0]))
    }

    #[test]
    fn a_loinc_code_is_told_by_its_check_digit() {
        for code in ["2345-7", "6690-2", "718-7", "19080-1", "8867-4"] {
            assert!(is_loinc(code), "{code}");
        }
        for code in ["2345-8", "GLU", "4", "-7", "2345-", "2345-77", "2345-x", "12345678-1", "à-1"] {
            assert!(!is_loinc(code), "{code}");
        }
    }

    #[test]
    fn a_test_is_turned_into_the_analysers_own_code() {
        let page = page("[orders]\n[orders.codes]\n\"21 hCG F\" = \"21\"\nHCG = \"21\"");
        let turned = |code: &str| page.order_code(&OrderedTest::typed(code));
        assert_eq!(turned("GLU").as_deref(), Some("GLU"));
        assert_eq!(turned("2345-7").as_deref(), Some("GLUC"), "the first of the page's codes");
        assert_eq!(turned("HCG").as_deref(), Some("21"));
        assert_eq!(turned("19080-1").as_deref(), Some("21"), "the result's code turned by the table");
        assert_eq!(turned("718-7"), None);
        assert_eq!(turned("XYZ"), None);
        assert!(page.lists("GLU") && page.lists("HCG") && !page.lists("XYZ"));
    }

    #[test]
    fn a_page_without_orders_turns_nothing() {
        assert_eq!(page("").order_code(&OrderedTest::typed("GLU")), None);
    }

    #[test]
    fn a_result_is_known_by_any_of_its_codes() {
        let page = page("[orders]\n[orders.codes]\n\"21 hCG F\" = \"21\"");
        let own = |code: &str| Coding::new("urn:bedside:firmware-profile:t/t", code, None);
        let loinc = |code: &str| Coding::new(LOINC, code, None);
        let measures = |test: &str, codings: &[Coding]| page.measures(&OrderedTest::typed(test), codings);
        assert!(measures("GLU", &[own("GLU")]));
        assert!(measures("2345-7", &[loinc("2345-7"), own("GLU")]));
        assert!(measures("2345-7", &[own("GLUC")]));
        assert!(measures("21", &[own("21 hCG F")]));
        assert!(!measures("GLU", &[own("21 hCG F"), loinc("19080-1")]));
        assert!(!measures("4", &[Coding::new(MDC, "4", None)]));
    }

    #[test]
    fn two_tests_are_the_same_when_a_code_is() {
        let both = OrderedTest { own: Some("GLU".into()), loinc: Some("2345-7".into()), text: None };
        assert!(both.same(&OrderedTest::typed("GLU")) && both.same(&OrderedTest::typed("2345-7")));
        assert!(
            !both.same(&OrderedTest::typed("K")) && !OrderedTest::default().same(&OrderedTest::default())
        );
    }
}
