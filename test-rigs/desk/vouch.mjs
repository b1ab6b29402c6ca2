// Systems that vouch for people: OpenLDAP's slapd over LDAPS, and the OpenID-certified oidc-provider.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { eventually } from "./tally.mjs";

const PEOPLE = `dn: dc=rig
objectClass: domain
dc: rig

dn: ou=people,dc=rig
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=rig
objectClass: organizationalUnit
ou: groups

dn: cn=box,dc=rig
objectClass: person
cn: box
sn: box
userPassword: box-secret

dn: uid=lena,ou=people,dc=rig
objectClass: inetOrgPerson
uid: lena
cn: Lena
sn: L
userPassword: kettle orbit lamp

dn: cn=nurses,ou=groups,dc=rig
objectClass: groupOfNames
cn: nurses
member: uid=lena,ou=people,dc=rig
`;

/** A directory in which `lena` is a nurse. */
export class Directory {
  static async start(dir, plain, encrypted) {
    const at = (name) => join(dir, name);
    mkdirSync(at("db"), { recursive: true });
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt"],
        ...["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
        ...["-keyout", at("key.pem"), "-out", at("cert.pem")],
        ...["-subj", "/CN=localhost"],
        ...["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
        ...["-addext", "basicConstraints=critical,CA:FALSE"],
      ],
      { stdio: "ignore" },
    );
    writeFileSync(
      at("slapd.conf"),
      `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile ${at("slapd.pid")}
TLSCertificateFile ${at("cert.pem")}
TLSCertificateKeyFile ${at("key.pem")}
database mdb
suffix "dc=rig"
rootdn "cn=root,dc=rig"
rootpw rig-root
directory ${at("db")}
overlay memberof
`,
    );
    writeFileSync(at("people.ldif"), PEOPLE);
    const directory = new Directory();
    const url = `ldap://127.0.0.1:${plain}`;
    directory.process = spawn(
      "/usr/sbin/slapd",
      [
        ...["-d", "0", "-f", at("slapd.conf"), "-h"],
        `${url} ldaps://127.0.0.1:${encrypted}`,
      ],
      { stdio: "ignore" },
    );
    await eventually(20_000, "slapd takes its people", () => {
      try {
        execFileSync(
          "ldapadd",
          [
            ...["-x", "-H", url, "-D", "cn=root,dc=rig", "-w", "rig-root"],
            ...["-f", at("people.ldif")],
          ],
          { stdio: "ignore" },
        );
        return true;
      } catch {
        return false;
      }
    });
    directory.section = `[access.ldap]
url = "ldaps://127.0.0.1:${encrypted}"
ca_file = "${at("cert.pem")}"
bind_dn = "cn=box,dc=rig"
bind_password = "ldap-bind"
base = "ou=people,dc=rig"
roles = { "cn=nurses,ou=groups,dc=rig" = "clinician" }
`;
    return directory;
  }

  stop() {
    this.process.kill("SIGTERM");
  }
}

/** A provider at which whoever comes is the account it was told. */
export class Provider {
  static async start(port, desk, account) {
    const provider = new Provider();
    provider.issuer = `http://127.0.0.1:${port}`;
    const settings = {
      port,
      clientId: "bedside",
      redirect: `${desk}/api/v1/oidc/return`,
      account,
    };
    const folder = new URL("../peers/", import.meta.url).pathname;
    provider.process = spawn(
      "node",
      [join(folder, "login.mjs"), JSON.stringify(settings)],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    await new Promise((resolve, reject) => {
      provider.process.on("exit", () =>
        reject(new Error("the provider did not start")),
      );
      createInterface({ input: provider.process.stdout }).on("line", (line) => {
        if (line.includes('"ready":true')) resolve();
      });
    });
    provider.section = `[access.oidc]
name = "Clinic sign-in"
issuer = "${provider.issuer}"
client_id = "bedside"
desk = "${desk}"
roles = { "nurses" = "clinician" }
`;
    return provider;
  }

  async is(account) {
    const answer = await fetch(`${this.issuer}/control`, {
      method: "POST",
      body: JSON.stringify({ account }),
    });
    if (!answer.ok) throw new Error(`the provider answered ${answer.status}`);
  }

  stop() {
    this.process.kill("SIGTERM");
  }
}
