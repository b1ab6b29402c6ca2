//! Passwords that guessing programs try first (NIST SP 800-63B §5.1.1.2 asks for such a list).
//!
//! Only what passes the length rule can matter, so the list holds stems: a password is common when nothing is
//! left of it but a stem, or stems in a row, after digits and signs at its ends are taken away and the usual
//! look-alike letters are put back.

/// Words that people build long but guessable passwords from; lower case, letters only.
const STEMS: &[&str] = &[
    "aaaa",
    "abc",
    "abcd",
    "abcdef",
    "access",
    "admin",
    "administrator",
    "analyser",
    "analyzer",
    "asdf",
    "asdfgh",
    "asdfghjkl",
    "baseball",
    "bedside",
    "befund",
    "changeit",
    "changeme",
    "clinic",
    "clinica",
    "clinique",
    "computer",
    "contrasena",
    "default",
    "demo",
    "device",
    "doctor",
    "dragon",
    "family",
    "fhir",
    "football",
    "gateway",
    "geheim",
    "guest",
    "hello",
    "hopital",
    "hospital",
    "iloveyou",
    "jesus",
    "klinik",
    "kliniken",
    "krankenhaus",
    "lab",
    "labor",
    "laboratory",
    "letmein",
    "login",
    "master",
    "medical",
    "michael",
    "monday",
    "monitor",
    "monkey",
    "motdepasse",
    "mustang",
    "my",
    "nurse",
    "ok",
    "onetwothree",
    "parola",
    "pass",
    "passe",
    "passphrase",
    "passw",
    "passwd",
    "password",
    "passwort",
    "patient",
    "please",
    "princess",
    "public",
    "qazwsx",
    "qazwsxedc",
    "qwer",
    "qwert",
    "qwerty",
    "qwertyuiop",
    "qwertz",
    "qwertzuiop",
    "raspberry",
    "root",
    "secret",
    "senha",
    "server",
    "service",
    "setup",
    "shadow",
    "start",
    "station",
    "summer",
    "sunshine",
    "superman",
    "superuser",
    "support",
    "system",
    "temp",
    "temporary",
    "test",
    "the",
    "this",
    "is",
    "trustno",
    "user",
    "verysecret",
    "wachtwoord",
    "welcome",
    "willkommen",
    "winter",
    "your",
    "zaq",
    "zaqxsw",
    "zxcv",
    "zxcvbn",
    "zxcvbnm",
];

/// Rows of keys and counting, in both directions, as a run of at least this many characters counts.
const ROWS: &[&str] = &[
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "qwertzuiop",
    "asdfghjkl",
    "zxcvbnm",
];

/// Dates and telephone numbers are shorter than this; a longer run of digits was drawn on purpose.
const DIGITS_MIN: usize = 16;

/// Whether `password` is one that would be guessed early. `own` are words of this place: the user name, the site.
pub(super) fn is_common(password: &str, own: &[&str]) -> bool {
    let lower = password.to_lowercase();
    if repeats_a_short_piece(&lower) || walks_along_a_row(&lower) {
        return true;
    }
    let own: Vec<String> =
        own.iter().map(|word| letters(&word.to_lowercase())).filter(|w| w.len() >= 3).collect();
    [letters(lower.trim_matches(|c: char| !c.is_alphabetic())), letters(&unleet(trim_tail(&lower)))]
        .iter()
        .any(
            |core| {
                if core.is_empty() {
                    lower.chars().count() < DIGITS_MIN
                } else {
                    is_stems_in_a_row(core, &own)
                }
            },
        )
}

/// Digits and signs at the end, but not those that stand for letters inside the word.
fn trim_tail(text: &str) -> &str {
    text.trim_end_matches(|c: char| !c.is_alphabetic())
        .trim_start_matches(|c: char| !c.is_alphanumeric() && c != '@' && c != '$')
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).collect()
}

/// `p@ssw0rd` → `password`.
fn unleet(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '0' => 'o',
            '1' | '!' => 'i',
            '3' => 'e',
            '4' | '@' => 'a',
            '5' | '$' => 's',
            '7' => 't',
            other => other,
        })
        .collect()
}

/// Whether `core` can be cut into nothing but stems.
fn is_stems_in_a_row(core: &str, own: &[String]) -> bool {
    // reachable[i]: the first i bytes are stems in a row. At most 256 characters reach this.
    let mut reachable = vec![false; core.len() + 1];
    if let Some(first) = reachable.first_mut() {
        *first = true;
    }
    for at in 0..core.len() {
        if reachable.get(at) != Some(&true) {
            continue;
        }
        let Some(rest) = core.get(at..) else { continue };
        for stem in STEMS.iter().copied().chain(own.iter().map(String::as_str)) {
            if rest.starts_with(stem)
                && let Some(end) = reachable.get_mut(at + stem.len())
            {
                *end = true;
            }
        }
    }
    reachable.last() == Some(&true)
}

/// `aaaaaaaaaaaa`, `abcabcabcabc`: one piece of at most four characters, again and again.
fn repeats_a_short_piece(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=4).any(|piece| chars.iter().zip(chars.iter().skip(piece)).all(|(a, b)| a == b))
}

/// `123456789012`, `qwertyuiop12`, `zyxwvutsrqpo`: runs of at least four along a row, and nothing else but three.
fn walks_along_a_row(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let mut walked = 0;
    let mut run = 1;
    for pair in chars.windows(2) {
        let [a, b] = pair else { continue };
        let neighbours =
            ROWS.iter().any(|row| row.contains(&format!("{a}{b}")) || row.contains(&format!("{b}{a}")));
        run = if neighbours { run + 1 } else { 1 };
        walked += match run {
            4 => 4,
            run if run > 4 => 1,
            _ => 0,
        };
    }
    walked + 3 >= chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guessing_programs_try_first_is_common() {
        for password in [
            "password1234",
            "Password2026!",
            "p@ssw0rd1234",
            "123456789012",
            "qwertyuiop12",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "adminadmin12",
            "Administrator1",
            "letmeinplease",
            "Welcome12345!",
            "changeme1234",
            "bedside-clinic",
            "Hospital-2026",
            "000000000000",
            "987654321098",
            "iloveyou1234",
            "motdepasse2026",
            "987654321987654321",
            "St-Anna-2026",
            "!!!!!!!!!!!!",
            "24.12.1978-06",
        ] {
            assert!(is_common(password, &["St Anna"]), "{password}");
        }
    }

    #[test]
    fn a_phrase_of_ordinary_words_is_not_common() {
        for password in [
            "correct horse battery",
            "violet tram at noon",
            "mfj4-Kq2p-vv91",
            "ein Fahrrad im Regen",
            "東京の春は長い夜に咲く花",
            "kettle-orbit-1987",
            "8374920571364418",
            "pass the salt, Marie",
        ] {
            assert!(!is_common(password, &["anna"]), "{password}");
        }
    }
}
