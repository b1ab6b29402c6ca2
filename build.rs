//! Watches the built web pages: a release without them is an error, not a silent gap.

fn main() {
    println!("cargo:rerun-if-changed=web/dist");
    println!("cargo:rerun-if-changed=firmware-profiles");
    println!("cargo:rerun-if-env-changed=BEDSIDE_ALLOW_NO_DESK");
    if std::path::Path::new("web/dist/index.html").exists() {
        return;
    }
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release && std::env::var_os("BEDSIDE_ALLOW_NO_DESK").is_none() {
        println!("cargo:error=the desk's pages are not built: run `npm ci --prefix web`, then build again");
        return;
    }
    println!(
        "cargo:warning=the desk's pages are not built: run `npm ci --prefix web` (the desk says so until then)"
    );
}
