//! Log-in by LDAP against slapd, over LDAPS and StartTLS.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bedside::access::{Config, Role, SelfMade};
use bedside::federation::{Federation, Unreachable};
use zeroize::Zeroizing;

use super::{Process, free_port, now, secrets};

const PEOPLE: &str = "
dn: dc=rig
objectClass: domain
dc: rig

dn: ou=people,dc=rig
objectClass: organizationalUnit
ou: people

dn: ou=others,ou=people,dc=rig
objectClass: organizationalUnit
ou: others

dn: ou=groups,dc=rig
objectClass: organizationalUnit
ou: groups

dn: cn=box,dc=rig
objectClass: person
cn: box
sn: box
userPassword: box-secret

dn: uid=anna,ou=people,dc=rig
objectClass: inetOrgPerson
uid: anna
cn: Anna
sn: A
userPassword: violet tram at noon

dn: uid=ben,ou=people,dc=rig
objectClass: inetOrgPerson
uid: ben
cn: Ben (*)
sn: B
userPassword: kettle orbit lamp

dn: uid=carl,ou=people,dc=rig
objectClass: inetOrgPerson
uid: carl
cn: Carl
sn: C
userPassword: in no group

dn: uid=dora,ou=people,dc=rig
objectClass: inetOrgPerson
uid: dora
cn: Dora
sn: D
userPassword: slow green kite

dn: uid=twin,ou=people,dc=rig
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: same

dn: uid=twin,ou=others,ou=people,dc=rig
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: same

dn: cn=elsewhere,ou=people,dc=rig
objectClass: referral
objectClass: extensibleObject
cn: elsewhere
ref: ldap://127.0.0.1:1/ou=people,dc=rig

dn: cn=nurses,ou=groups,dc=rig
objectClass: groupOfNames
cn: nurses
member: uid=anna,ou=people,dc=rig
member: uid=ben,ou=people,dc=rig
member: uid=twin,ou=people,dc=rig

dn: cn=icu,ou=groups,dc=rig
objectClass: groupOfNames
cn: icu
member: uid=dora,ou=people,dc=rig

dn: cn=it,ou=groups,dc=rig
objectClass: groupOfNames
cn: it
member: uid=ben,ou=people,dc=rig
";

/// A role of the box, and the clinic's own in its place.
type Given = (Role, Option<String>);

struct Rig {
    plain: u16,
    encrypted: u16,
    dir: tempfile::TempDir,
    process: Option<Process>,
}

impl Rig {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = SelfMade::make("localhost", &[], now()).unwrap();
        std::fs::write(at("cert.pem"), &made.certificate_pem).unwrap();
        std::fs::write(at("key.pem"), made.key_pem.expose()).unwrap();
        std::fs::create_dir(at("db")).unwrap();
        let here = dir.path().display();
        let conf = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             moduleload memberof\npidfile {here}/slapd.pid\nTLSCertificateFile {here}/cert.pem\n\
             TLSCertificateKeyFile {here}/key.pem\ndatabase mdb\nsuffix \"dc=rig\"\nrootdn \"cn=root,dc=rig\"\n\
             rootpw rig-root\ndirectory {here}/db\noverlay memberof\n"
        );
        std::fs::write(at("slapd.conf"), conf).unwrap();
        std::fs::write(at("people.ldif"), PEOPLE.trim_start()).unwrap();
        let (plain, encrypted) = (free_port(), free_port());
        let child = Command::new("/usr/sbin/slapd")
            .args(["-d", "0", "-f"])
            .arg(at("slapd.conf"))
            .args(["-h", &format!("ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{encrypted}")])
            .stderr(Stdio::null())
            .spawn()
            .expect("slapd is needed (test-rigs/install-deps)");
        let rig = Self { plain, encrypted, dir, process: Some(Process(child)) };
        rig.seed();
        rig
    }

    fn seed(&self) {
        for _ in 0..100 {
            let url = format!("ldap://127.0.0.1:{}", self.plain);
            let done = Command::new("ldapadd")
                .args(["-x", "-H", &url, "-D", "cn=root,dc=rig", "-w", "rig-root", "-f"])
                .arg(self.dir.path().join("people.ldif"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if done.expect("ldapadd is needed (test-rigs/install-deps)").success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("slapd took no entries");
    }

    fn text(&self, url: &str, ca: &Path) -> String {
        format!(
            "[ldap]\nurl = \"{url}\"\nca_file = \"{}\"\nbind_dn = \"cn=box,dc=rig\"\nbind_password = \"ldap-bind\"\n\
             base = \"ou=people,dc=rig\"\n",
            ca.display()
        )
    }

    async fn log_in(
        &self,
        text: &str,
        password: &str,
        name: &str,
        own: &str,
    ) -> Result<Option<(String, Given)>, Unreachable> {
        let roles = "roles = { \"CN=nurses, OU=groups, DC=rig\" = \"clinician\", \"cn=it,ou=groups,dc=rig\" = \"admin\", \
                     \"cn=icu,ou=groups,dc=rig\" = \"icu-nurse\" }\n[roles.icu-nurse]\npermissions = [\"devices.see\"]\n";
        let config: Config = toml::from_str(&format!("{text}{roles}")).unwrap();
        config.check().unwrap();
        let (_dir, store) = secrets("ldap-bind", own);
        let directory = Federation::new(&config, &store).unwrap().directory.unwrap();
        let found = directory.log_in(name.into(), Zeroizing::new(password.into())).await?;
        Ok(found.map(|who| {
            assert_eq!((who.source, who.factor), ("ldap", false));
            assert_eq!(who.subject, format!("uid={name},ou=people,dc=rig"));
            (who.username, config.chosen(&who.roles).unwrap())
        }))
    }
}

#[tokio::test]
async fn a_password_of_the_directory_lets_in_with_the_role_of_the_groups_and_nothing_else_does() {
    let rig = Rig::start();
    let ca = rig.dir.path().join("cert.pem");
    let ldaps = rig.text(&format!("ldaps://127.0.0.1:{}", rig.encrypted), &ca);
    let starttls = rig.text(&format!("ldap://127.0.0.1:{}", rig.plain), &ca) + "starttls = true\n";
    let searched = ldaps.clone() + "member_of = \"noSuchAttribute\"\ngroup_base = \"ou=groups,dc=rig\"\n";
    for way in [&ldaps, &starttls, &searched] {
        let ask = async |name: &str, password: &str| rig.log_in(way, password, name, "box-secret").await;
        assert_eq!(
            ask("anna", "violet tram at noon").await,
            Ok(Some(("anna".into(), (Role::Clinician, None)))),
            "{way}"
        );
        assert_eq!(ask("ben", "kettle orbit lamp").await, Ok(Some(("ben".into(), (Role::Admin, None)))));
        let own = (Role::Clinician, Some("icu-nurse".to_string()));
        assert_eq!(
            ask("dora", "slow green kite").await,
            Ok(Some(("dora".into(), own))),
            "a role of the clinic's own"
        );
        for (name, password) in [
            ("anna", "kettle orbit lamp"),
            ("anna", ""),
            ("carl", "in no group"),
            ("twin", "same"),
            ("nobody", "x"),
            ("*", "violet tram at noon"),
            ("a*", "violet tram at noon"),
            ("*)(uid=*", "violet tram at noon"),
            ("anna)(objectClass=*", "violet tram at noon"),
            ("elsewhere", "x"),
            ("", "x"),
        ] {
            assert_eq!(ask(name, password).await, Ok(None), "{name} over {way}");
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_not_the_clinics_or_not_there_gets_no_password() {
    let mut rig = Rig::start();
    let own = rig.dir.path().join("cert.pem");
    let other = rig.dir.path().join("other.pem");
    std::fs::write(&other, SelfMade::make("localhost", &[], now()).unwrap().certificate_pem).unwrap();
    let url = format!("ldaps://127.0.0.1:{}", rig.encrypted);
    let password = "violet tram at noon";
    assert!(
        rig.log_in(&rig.text(&url, &other), password, "anna", "box-secret").await.is_err(),
        "another authority"
    );
    let plain = rig.text(&format!("ldap://127.0.0.1:{}", rig.plain), &other) + "starttls = true\n";
    assert!(
        rig.log_in(&plain, password, "anna", "box-secret").await.is_err(),
        "StartTLS with another authority"
    );
    let wrong_own = rig.log_in(&rig.text(&url, &own), password, "anna", "not the box's").await;
    assert!(wrong_own.is_err(), "the box's own account: nobody is told that their password is wrong");
    drop(rig.process.take());
    assert!(rig.log_in(&rig.text(&url, &own), password, "anna", "box-secret").await.is_err(), "away");
}
