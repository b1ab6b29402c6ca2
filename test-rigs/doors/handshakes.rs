//! What TLS the desk of the real binary speaks, asked by other people's clients: sslscan and OpenSSL.

use std::process::{Command, Stdio};

use crate::clinic::Clinic;

fn said(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|_| panic!("{tool} is installed (test-rigs/install-deps)"));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_tls_1_2_and_1_3_with_aead_are_spoken() {
    let clinic = Clinic::open("doors-handshakes", String::new()).await;
    let address = format!("127.0.0.1:{}", clinic.desk_port());
    let scan = tokio::task::spawn_blocking({
        let address = address.clone();
        move || said("sslscan", &["--no-colour", "--no-heartbleed", &address])
    })
    .await
    .unwrap();
    for old in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        let line = scan.lines().find(|line| line.starts_with(old)).unwrap_or_else(|| panic!("{old}: {scan}"));
        assert!(line.ends_with("disabled"), "{line}");
    }
    for new in ["TLSv1.2", "TLSv1.3"] {
        assert!(scan.lines().any(|line| line.starts_with(new) && line.ends_with("enabled")), "{new}: {scan}");
    }
    let ciphers: Vec<_> =
        scan.lines().filter(|line| line.starts_with("Preferred ") || line.starts_with("Accepted ")).collect();
    assert!(ciphers.len() >= 5, "{scan}");
    for cipher in &ciphers {
        assert!(cipher.contains("GCM") || cipher.contains("CHACHA20"), "no AEAD: {cipher}");
        assert!(cipher.contains("TLSv1.3") || cipher.contains("ECDHE"), "no forward secrecy: {cipher}");
    }
    for refused in [
        &["-tls1"][..],
        &["-tls1_1"],
        &["-tls1_2", "-cipher", "AES128-SHA"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA"],
    ] {
        let mut arguments = vec!["s_client", "-connect", &address];
        arguments.extend(refused);
        let text = said("openssl", &arguments);
        assert!(!text.contains("Cipher is TLS") && !text.contains("Cipher is ECDHE"), "{refused:?}: {text}");
    }
    let spoken = said("openssl", &["s_client", "-connect", &address, "-tls1_3"]);
    assert!(spoken.contains("TLSv1.3"), "{spoken}");
}
