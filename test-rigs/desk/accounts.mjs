// Who gets in at the desk and what they may, in a real browser against the real binary: set-up with a second factor,
// authenticator app, passkey (Chromium's virtual authenticator), recovery codes and the console, a remembered browser,
// the proof before a risky action, every role, places and the emergency, API tokens, OpenID Connect and LDAP.
//
//   node accounts.mjs --bedside target/debug/bedside [--shots DIR]
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { free } from "./box.mjs";
import { finishSetUp } from "./finish.mjs";
import { SIZES, looker } from "./look.mjs";
import { Tally, eventually, must } from "./tally.mjs";
import { Telephone } from "./totp.mjs";
import { Directory, Provider } from "./vouch.mjs";
import { Watch, axe, fits } from "./watch.mjs";

const { values: flags } = parseArgs({
  options: {
    bedside: { type: "string" },
    shots: { type: "string", default: "" },
    chromium: {
      type: "string",
      default: process.env.CHROMIUM ?? "/usr/bin/chromium",
    },
  },
});
if (!flags.bedside) {
  console.error("needs --bedside FILE; the head of accounts.mjs tells more");
  process.exit(2);
}

const PASSWORD = "violet tram at noon";
const OWN = "kettle orbit lamp seven";
const STEP_MS = 15_000;
/** What stands in the navigation of each role, and what the gateway refuses it. */
const ROLES = {
  engineer: {
    pages:
      "Overview Devices Messages Held Patients Pairing Worklist Upstream HL7 routes Profiles Templates Certificate Settings Updates Account Help",
    shut: ["/api/v1/users", "/api/v1/audit", "/api/v1/backups"],
    open: ["/api/v1/overview", "/api/v1/settings"],
  },
  integrator: {
    pages:
      "Overview Devices Messages Held Patients Pairing Worklist Upstream HL7 routes Profiles Templates Account Help",
    shut: ["/api/v1/users", "/api/v1/audit", "/api/v1/settings"],
    open: ["/api/v1/overview", "/api/v1/profiles"],
  },
  clinician: {
    pages:
      "Overview Devices Messages Held Patients Worklist Upstream HL7 routes Account Help",
    shut: ["/api/v1/users", "/api/v1/pairing", "/api/v1/profiles"],
    open: ["/api/v1/overview", "/api/v1/entries"],
  },
  auditor: {
    pages: "Audit Account Help",
    shut: ["/api/v1/users", "/api/v1/overview", "/api/v1/entries"],
    open: ["/api/v1/audit", "/api/v1/break-glass"],
  },
};
const ADMIN_PAGES =
  "Overview Devices Messages Held Patients Pairing Worklist Upstream HL7 routes Profiles Templates Audit Certificate Backups Settings Updates Users Account Help";

const tally = new Tally();

// ── the box ──

const dir = mkdtempSync(join(tmpdir(), "bedside-accounts-"));
const desk_port = await free();
// By name: passkeys are bound to one.
const origin = `https://localhost:${desk_port}`;
const file = join(dir, "bedside.toml");
const olga = { sub: "u-1", username: "olga", groups: ["nurses"] };
mkdirSync(join(dir, "ldap"));
mkdirSync(join(dir, "secrets"), { mode: 0o700 });
writeFileSync(join(dir, "secrets", "ldap-bind"), "box-secret", { mode: 0o600 });
const directory = await Directory.start(
  join(dir, "ldap"),
  await free(),
  await free(),
);
const provider = await Provider.start(await free(), origin, olga);
writeFileSync(
  file,
  `secrets = "${dir}/secrets"
[site]
[buffer]
dir = "${dir}/buffer"
[desk]
listen = "127.0.0.1:${desk_port}"
[access]
second_factor = ["admin"]
[access.step_up]
remember_days = 7
[access.roles.icu-watcher]
permissions = ["devices.see"]
places = ["ICU"]
${provider.section}${directory.section}`,
);
let log = "";
let box;
function startBox() {
  box = spawn(flags.bedside, ["run", "--config", file], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  box.stderr.on("data", (text) => (log += text));
}
startBox();
const console_code = await eventually(20_000, "the set-up code", () => {
  if (box.exitCode !== null) throw new Error(log);
  return /One-time set-up code for the first account: (\S+)/.exec(log)?.[1];
});
const onConsole = (...words) =>
  execFileSync(flags.bedside, ["user", ...words, "--config", file], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });

// ── the browser ──

/** Of the certificate's public key: with it the browser trusts this very key, as after an import; passkeys want that. */
const key_hash = await new Promise((resolve, reject) => {
  const socket = connect(
    { host: "127.0.0.1", port: desk_port, rejectUnauthorized: false },
    () => {
      const key = socket.getPeerX509Certificate().publicKey;
      const der = key.export({ type: "spki", format: "der" });
      resolve(createHash("sha256").update(der).digest("base64"));
      socket.end();
    },
  );
  socket.on("error", reject);
});
const browser = await chromium.launch({
  executablePath: flags.chromium,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    `--ignore-certificate-errors-spki-list=${key_hash}`,
  ],
});
const watches = [];
async function someone() {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: SIZES.desktop,
    colorScheme: "light",
  });
  context.setDefaultTimeout(STEP_MS);
  const page = await context.newPage();
  const watch = new Watch(page, origin);
  watches.push(watch);
  return { context, page, watch };
}
const { context, page, watch } = await someone();

const pictures = (of) => looker({ page: of, tally, shots: flags.shots });
const { shoot, look } = pictures(page);

const button = (name, of = page) =>
  of.getByRole("button", { name, exact: true });
const nav = (of = page) => of.locator("nav[aria-label=Pages]");
const title = (name, of = page) =>
  of.getByRole("heading", { name, level: 1 }).waitFor();
const asked = (of = page) => of.locator("dialog[open]").last();
async function logOut(of = page) {
  await of
    .getByRole("button", { name: /^Log out/ })
    .first()
    .click();
  await title("Log in", of);
}
async function password(name, word, of = page) {
  await of.fill("input[name=username]", name);
  await of.fill("input[name=password]", word);
  await button("Log in", of).click();
}
const status = async (path, of = context) =>
  (await of.request.get(origin + path)).status();
const pagesOf = async (of) => {
  const links = nav(of).getByRole("link", { includeHidden: true });
  const words = await links.locator("> span:not(.badge)").allInnerTexts();
  return words.map((word) => word.trim()).join(" ");
};

// ── the first user ──

let telephone;
let recovery = [];

/** Reads the secret as somebody who cannot scan does. */
async function secretShown(of = page) {
  await of.getByText("It cannot be scanned").click();
  return (await of.locator(".secret").first().innerText()).replaceAll(" ", "");
}

async function setUp() {
  await page.goto(origin);
  await page.fill("input[name=code]", console_code);
  await page.fill("input[name=username]", "anna");
  await page.fill("input[name=password]", PASSWORD);
  await button("Create the first user").click();
  await tally.check(
    "the first user is asked for a second factor before anything else",
    async () => {
      await title("Set up a second factor");
      must(
        (await status("/api/v1/overview")) === 403,
        "the overview is open already",
      );
    },
  );
  await look("second-factor");
  await tally.check("who stops here goes on here after a reload", async () => {
    watch.expect(/403.*\/api\/v1\//);
    await page.reload();
    await title("Set up a second factor");
  });
  await button("Authenticator app").click();
  telephone = new Telephone(await secretShown());
  await look("authenticator");
  await tally.check("a wrong code is refused in words", async () => {
    watch.expect(/422.*\/account\/totp/);
    await page.fill("input[name=totp]", "000000");
    await button("Finish").click();
    must(
      (await page.getByRole("alert").innerText()).length > 20,
      "the refusal says too little",
    );
  });
  await page.fill("input[name=totp]", await telephone.code());
  await button("Finish").click();
  await tally.check(
    "ten recovery codes are shown once and must be kept",
    async () => {
      await page.locator(".codes li").nth(9).waitFor();
      recovery = await page.locator(".codes li").allInnerTexts();
      must(new Set(recovery).size === 10, recovery.join());
      must(
        await button("Go on").isDisabled(),
        "one may go on without having kept them",
      );
    },
  );
  await look("recovery-codes");
  await page.getByRole("checkbox").check();
  await button("Go on").click();
  await tally.check(
    "then the desk is open, and an administrator sees every page",
    async () => {
      await nav().waitFor();
      must((await pagesOf(page)) === ADMIN_PAGES, await pagesOf(page));
    },
  );
}

/** From here on the box is named, has its zone, a server and a device. */
async function restOfSetUp() {
  const powerCut = async () => {
    const gone = new Promise((resolve) => box.on("exit", resolve));
    box.kill("SIGKILL");
    await gone;
    startBox();
    await eventually(20_000, "the desk after the power cut", async () =>
      context.request.get(`${origin}/healthz`).then(
        (answer) => answer.ok(),
        () => false,
      ),
    );
  };
  const logIn = async () => {
    await page.goto(origin);
    await logOut();
    await password("anna", PASSWORD);
    await title("Second step");
    await page.fill("input[name=totp]", await telephone.code());
    await button("Go on").click();
    await nav().waitFor();
  };
  const with_ = { page, tally, look, watch, origin, bedside: flags.bedside };
  await finishSetUp({ ...with_, powerCut, logIn });
}

async function secondStep() {
  await logOut();
  await look("login-with-provider");
  await password("anna", PASSWORD);
  await tally.check("after the password comes the second step", () =>
    title("Second step"),
  );
  await look("second-step");
  watch.expect(/401.*\/factor\/prove/);
  await tally.check("a wrong code does not let in", async () => {
    await page.fill("input[name=totp]", "123456");
    await button("Go on").click();
    await page.getByRole("alert").waitFor();
    must((await status("/api/v1/overview")) === 403, "somebody is in");
  });
  await tally.check("a recovery code lets in, once", async () => {
    await button("Use a recovery code").click();
    await page.fill("input[name=recovery]", recovery[0]);
    await button("Go on").click();
    await nav().waitFor();
    await logOut();
    await password("anna", PASSWORD);
    await title("Second step");
    await button("Use a recovery code").click();
    await page.fill("input[name=recovery]", recovery[0]);
    await button("Go on").click();
    await page.getByRole("alert").waitFor();
  });
  await tally.check("the app’s code lets in", async () => {
    await button("Use the authenticator app").click();
    await page.fill("input[name=totp]", await telephone.code());
    await button("Go on").click();
    await nav().waitFor();
  });
}

async function passkey() {
  const devtools = await context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  await devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  await page.goto(`${origin}/account`);
  await title("Account and security");
  await tally.check("a passkey is made and listed", async () => {
    await button("Add a factor").click();
    await asked()
      .getByLabel("A name for it, if you like")
      .fill("Key of the walk");
    await button("Passkey or security key").click();
    await page.getByText("Key of the walk", { exact: true }).first().waitFor();
    await page.locator("dialog[open]").waitFor({ state: "hidden" });
  });
  await look("account");
  await tally.check("the passkey lets in in place of the app", async () => {
    await logOut();
    await password("anna", PASSWORD);
    await title("Second step");
    await button("Use a passkey").click();
    await shoot("second-step-passkey");
    await button("Go on").click();
    await nav().waitFor();
  });
}

/** A browser that is remembered is not asked at log-in, and so has proven nothing for what is risky. */
async function remembered() {
  await tally.check("a browser can be remembered", async () => {
    await logOut();
    await password("anna", PASSWORD);
    await title("Second step");
    await page.getByLabel(/Do not ask in this browser for 7 days/).check();
    await page.fill("input[name=totp]", await telephone.code());
    await button("Go on").click();
    await nav().waitFor();
    await logOut();
    await password("anna", PASSWORD);
    await nav().waitFor();
  });
  await tally.check(
    "before something risky it is asked all the same, and then it is done",
    async () => {
      watch.expect(/403.*\/api\/v1\/users/);
      await page.goto(`${origin}/users`);
      await title("Users and roles");
      await page.getByLabel("User name").fill("carl");
      await button("Add the user").click();
      await asked().getByRole("heading", { name: "Is it you?" }).waitFor();
      await axe(page);
      await shoot("step-up-desktop-light");
      await asked()
        .locator("input[name=totp]")
        .fill(await telephone.code());
      await asked().getByRole("button", { name: "Go on" }).click();
      await page.getByRole("rowheader", { name: /^carl/ }).waitFor();
    },
  );
  await tally.check("another browser is asked at log-in", async () => {
    const other = await someone();
    await other.page.goto(origin);
    await password("anna", PASSWORD, other.page);
    await title("Second step", other.page);
    await other.context.close();
  });
}

// ── the others ──

const first = {};

async function users() {
  await page.goto(`${origin}/users`);
  await title("Users and roles");
  for (const role of Object.keys(ROLES)) {
    await tally.check(
      `a user of the role ${role} is made, with a password that is shown once`,
      async () => {
        await page.getByLabel("User name").fill(`the-${role}`);
        await page
          .getByLabel("Role", { exact: true })
          .first()
          .selectOption(role);
        await button("Add the user").click();
        await page
          .getByText(`The one-time password of the-${role} is shown only now:`)
          .waitFor();
        first[role] = await page.locator(".secret").innerText();
        must(first[role].length >= 12, "it is short");
      },
    );
  }
  await look("users");
  await tally.check("the dialog of one user is fit to use", async () => {
    await page.getByRole("button", { name: "Change the-clinician" }).click();
    await asked()
      .getByRole("heading", { name: "Change the-clinician" })
      .waitFor();
    await axe(page);
    await shoot("user-desktop-light");
    await page.setViewportSize(SIZES.tablet);
    await fits(page);
    await shoot("user-tablet-light");
    await page.setViewportSize(SIZES.desktop);
    await asked().getByRole("button", { name: "Cancel" }).click();
  });
}

async function roles() {
  for (const [role, { pages, shut, open }] of Object.entries(ROLES)) {
    const who = await someone();
    await tally.check(
      `${role}: chooses an own password, sees their pages and gets nothing else`,
      async () => {
        await who.page.goto(origin);
        await password(`the-${role}`, first[role], who.page);
        await title("Choose your own password", who.page);
        if (role === "clinician") await pictures(who.page).look("own-password");
        await who.page.fill("input[name=old]", first[role]);
        await who.page.fill("input[name=new]", OWN);
        await button("Change the password", who.page).click();
        await nav(who.page).waitFor();
        must((await pagesOf(who.page)) === pages, await pagesOf(who.page));
        for (const path of open)
          must((await status(path, who.context)) === 200, `${path} is shut`);
        for (const path of shut)
          must((await status(path, who.context)) === 403, `${path} is open`);
      },
    );
    await tally.check(
      `${role}: begins on a page that shows something`,
      async () => {
        await who.page.goto(origin);
        await who.page.locator("h1").first().waitFor();
        await who.page.waitForTimeout(500);
        must(
          (await who.page.getByRole("alert").count()) === 0,
          "a problem is shown",
        );
      },
    );
    if (role === "auditor")
      await pictures(who.page).shoot("auditor-desktop-light");
    await who.context.close();
  }
}

/** A role of the clinic's own from the configuration, instead of the box's. */
async function ownRole() {
  await tally.check(
    "a role of the clinic’s own is given, and counts in place of the box’s",
    async () => {
      await page.goto(`${origin}/users`);
      await page
        .getByRole("heading", { name: "Roles of the clinic’s own" })
        .waitFor();
      await page.getByRole("button", { name: "Change the-integrator" }).click();
      await asked()
        .getByLabel("Role of the clinic’s own")
        .selectOption("icu-watcher");
      await shoot("user-own-role-desktop-light");
      await asked().getByRole("button", { name: "Save" }).click();
      await page
        .getByRole("row", { name: /^the-integrator.*icu-watcher/ })
        .waitFor();
      const who = await someone();
      await who.page.goto(origin);
      await password("the-integrator", OWN, who.page);
      await nav(who.page).waitFor();
      must(
        (await pagesOf(who.page)) ===
          "Overview Devices Upstream HL7 routes Account Help",
        await pagesOf(who.page),
      );
      must(
        (await status("/api/v1/entries", who.context)) === 403,
        "messages are open",
      );
      await who.context.close();
    },
  );
}

async function emergency() {
  await tally.check("a user can be limited to places", async () => {
    await page.goto(`${origin}/users`);
    await page.getByRole("button", { name: "Change the-clinician" }).click();
    await asked()
      .getByLabel(/^Only these places/)
      .fill("ICU");
    await asked().getByRole("button", { name: "Save" }).click();
    await page.getByText("in ICU").waitFor();
  });
  const nurse = await someone();
  nurse.watch.expect(/403.*\/api\/v1\//);
  await nurse.page.goto(origin);
  await password("the-clinician", OWN, nurse.page);
  await nav(nurse.page).waitFor();
  await tally.check(
    "who is limited gets nothing that has no place",
    async () => {
      must(
        (await status("/api/v1/worklist", nurse.context)) === 403,
        "the worklist is open",
      );
    },
  );
  await nurse.page.goto(`${origin}/account`);
  await tally.check("an emergency needs a reason", async () => {
    await button("Break the glass…", nurse.page).click();
    await asked(nurse.page).getByRole("textbox").fill("urgent");
    must(
      await asked(nurse.page)
        .getByRole("button", { name: "Open" })
        .isDisabled(),
      "six letters are enough",
    );
    await asked(nurse.page).getByRole("textbox").fill("resuscitation in bay 4");
    await axe(nurse.page);
    await pictures(nurse.page).shoot("emergency-desktop-light");
    await asked(nurse.page).getByRole("button", { name: "Open" }).click();
    await nurse.page
      .getByText("You see everything because of an emergency")
      .waitFor();
  });
  await tally.check(
    "then everything is open, everybody is told, and the reason is kept",
    async () => {
      must(
        (await status("/api/v1/worklist", nurse.context)) === 200,
        "the worklist is shut",
      );
      await page.goto(origin);
      await page
        .getByText("A user opened the box beyond their places")
        .first()
        .waitFor();
      await page.goto(`${origin}/users`);
      await page.getByText("Emergency: resuscitation in bay 4").waitFor();
      const trail = await (
        await context.request.get(`${origin}/api/v1/audit`)
      ).text();
      must(trail.includes("break-glass.begin"), "not in the audit trail");
    },
  );
  await tally.check("it ends when they say so", async () => {
    await button("The emergency is over", nurse.page).click();
    await button("Break the glass…", nurse.page).waitFor();
    must(
      (await status("/api/v1/worklist", nurse.context)) === 403,
      "the worklist is open",
    );
  });
  await nurse.context.close();
}

async function tokens() {
  await page.goto(`${origin}/account`);
  let token;
  await tally.check("an API token is made and shown once", async () => {
    await page.getByLabel("Name of the new token").fill("walk");
    await page.getByLabel("see devices, links and last values").check();
    await button("Make the token").click();
    token = await page.locator(".secret").innerText();
    must(token.startsWith("bds_"), token.slice(0, 4));
  });
  await look("account-token");
  const by = async (path) => {
    const answer = await fetch(
      origin.replace("localhost", "127.0.0.1") + path,
      {
        headers: { Authorization: `Bearer ${token}` },
      },
    );
    return answer.status;
  };
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  await tally.check(
    "it may what it was given and nothing else, until it is revoked",
    async () => {
      must((await by("/api/v1/overview")) === 200, "what it was given is shut");
      must((await by("/api/v1/entries")) === 403, "messages are open");
      must(
        (await by("/api/v1/account/sessions")) === 403,
        "what is a person’s is open",
      );
      await page.getByRole("button", { name: "Revoke walk" }).click();
      await page
        .getByText("The token is revoked")
        .waitFor({ state: "attached" });
      must((await by("/api/v1/overview")) === 401, "it still counts");
    },
  );
}

async function sessions() {
  const other = await someone();
  await other.page.goto(origin);
  await password("the-engineer", OWN, other.page);
  await nav(other.page).waitFor();
  const second = await someone();
  await second.page.goto(origin);
  await password("the-engineer", OWN, second.page);
  await nav(second.page).waitFor();
  await tally.check(
    "one’s own sessions are listed, and others are ended",
    async () => {
      await second.page.goto(`${origin}/account`);
      await second.page.getByText("This browser").waitFor();
      await button("End all others", second.page).click();
      await eventually(
        STEP_MS,
        "the other is out",
        async () => (await status("/api/v1/session", other.context)) === 401,
      );
      must(
        (await status("/api/v1/session", second.context)) === 200,
        "this one is out too",
      );
    },
  );
  await other.context.close();
  await second.context.close();
}

// ── who others vouch for ──

async function openIdConnect() {
  const who = await someone();
  who.watch.expect(/./);
  await tally.check(
    "OpenID Connect: a nurse of the provider is a clinician here",
    async () => {
      await who.page.goto(origin);
      await who.page
        .getByRole("link", { name: "Log in with Clinic sign-in" })
        .click();
      await nav(who.page).waitFor();
      const session = await (
        await who.context.request.get(`${origin}/api/v1/session`)
      ).json();
      must(
        session.username === "olga" && session.role === "clinician",
        JSON.stringify(session),
      );
      must(session.source === "oidc", session.source);
      await page.goto(`${origin}/users`);
      await page
        .getByRole("rowheader", { name: /^olga/ })
        .getByText("from OIDC")
        .waitFor();
      await logOut(who.page);
    },
  );
  await tally.check(
    "OpenID Connect: who is in no group with a role is told so",
    async () => {
      await provider.is({ ...olga, groups: ["gardeners"] });
      await who.page
        .getByRole("link", { name: "Log in with Clinic sign-in" })
        .click();
      await who.page
        .getByText("You are in no group that has a role on this gateway.")
        .waitFor();
      await pictures(who.page).shoot("login-refused-desktop-light");
      must(
        (await status("/api/v1/session", who.context)) === 401,
        "somebody is in",
      );
    },
  );
  await tally.check(
    "OpenID Connect: a name that is somebody’s here is not theirs",
    async () => {
      await provider.is({ sub: "u-2", username: "anna", groups: ["nurses"] });
      await who.page
        .getByRole("link", { name: "Log in with Clinic sign-in" })
        .click();
      await who.page
        .getByText("Your name is somebody else’s on this gateway.")
        .waitFor();
    },
  );
  await tally.check(
    "OpenID Connect: an answer to nothing is refused",
    async () => {
      await who.page.goto(
        `${origin}/api/v1/oidc/return?code=made-up&state=made-up`,
      );
      await who.page
        .getByText("That log-in was begun in another window or too long ago.")
        .waitFor();
    },
  );
  await who.context.close();
}

async function ldap() {
  const who = await someone();
  who.watch.expect(/4(01|29).*\/api\/v1\/login/);
  await who.page.goto(origin);
  await tally.check(
    "LDAP: a nurse of the directory is a clinician here",
    async () => {
      await password("lena", "kettle orbit lamp", who.page);
      await nav(who.page).waitFor();
      const session = await (
        await who.context.request.get(`${origin}/api/v1/session`)
      ).json();
      must(
        session.source === "ldap" && session.role === "clinician",
        JSON.stringify(session),
      );
      await logOut(who.page);
    },
  );
  for (const [name, word] of [
    ["lena", "not her password"],
    ["*", "kettle orbit lamp"],
    ["lena)(uid=*", "kettle orbit lamp"],
  ])
    await tally.check(
      `LDAP: ${name} with a password that is not theirs stays out`,
      async () => {
        await password(name, word, who.page);
        await who.page.getByRole("alert").waitFor();
        must(
          (await status("/api/v1/session", who.context)) === 401,
          "somebody is in",
        );
        await who.page.reload();
      },
    );
  await who.context.close();
}

// ── the console ──

async function fromTheConsole() {
  await tally.check(
    "bedside user: the list names everybody and no secret",
    () => {
      const listed = onConsole("list", "--json");
      must(listed.includes("anna") && listed.includes("olga"), listed);
      must(!/argon2|secret|bds_/.test(listed), "a secret is listed");
    },
  );
  await tally.check(
    "bedside user: who lost everything sets up a second factor again",
    async () => {
      watch.expect(/401.*\/api\/v1\//);
      onConsole("reset-factors", "anna");
      must((await status("/api/v1/session")) === 401, "the old session lives");
      await page.goto(origin);
      await password("anna", PASSWORD);
      await title("Set up a second factor");
      await button("Authenticator app").click();
      telephone = new Telephone(await secretShown());
      await page.fill("input[name=totp]", await telephone.code());
      await button("Finish").click();
      await page.getByRole("checkbox").check();
      await button("Go on").click();
      await nav().waitFor();
    },
  );
  await tally.check(
    "bedside user: a one-time password opens the way to a new one",
    async () => {
      const made = onConsole("passwd", "the-engineer")
        .trim()
        .split(/\s+/)
        .at(-1);
      const who = await someone();
      await who.page.goto(origin);
      await password("the-engineer", made, who.page);
      await title("Choose your own password", who.page);
      await who.context.close();
    },
  );
  await tally.check("what was refused stands in the audit trail", async () => {
    for (const word of [
      "access.refused",
      "login.factor",
      "user.add",
      "step-up",
      "factor.add",
    ]) {
      const found = await context.request.get(
        `${origin}/api/v1/audit?what=${word}`,
      );
      must((await found.text()).includes(`"${word}"`), `${word} is not there`);
    }
  });
}

// ── in other languages ──

async function languages() {
  for (const tag of ["de", "fr", "es"]) {
    await page.evaluate(
      (wanted) => localStorage.setItem("bedside.language", wanted),
      tag,
    );
    for (const path of ["/users", "/account"])
      await tally.check(
        `${path} in ${tag}: axe finds nothing serious, fits 360 px`,
        async () => {
          await page.goto(origin + path);
          await page.locator("main table, main .list").first().waitFor();
          await axe(page);
          await page.setViewportSize(SIZES.phone);
          await page.waitForTimeout(250);
          await fits(page);
          await page.setViewportSize(SIZES.desktop);
          await shoot(`${path.slice(1)}-${tag}-desktop-light`);
        },
      );
  }
  await page.evaluate(() => localStorage.setItem("bedside.language", "en"));
}

try {
  for (const part of [
    setUp,
    restOfSetUp,
    secondStep,
    passkey,
    remembered,
    users,
    roles,
    ownRole,
    emergency,
    tokens,
    sessions,
    openIdConnect,
    ldap,
    languages,
    fromTheConsole,
  ])
    await part();
} catch (fault) {
  await tally.check("the walk reaches its end", () => Promise.reject(fault));
  await shoot("accounts-where-it-stopped");
}
await tally.check("the console has no errors", () => {
  const errors = watches.flatMap((one) => one.errors);
  must(errors.length === 0, errors.join("\n"));
});
await tally.check("no request left for anywhere but the provider", () => {
  const strangers = watches
    .flatMap((one) => one.strangers)
    .filter((url) => !url.startsWith(provider.issuer));
  must(strangers.length === 0, strangers.join("\n"));
});
await browser.close();
box.kill("SIGTERM");
await new Promise((resolve) => box.on("exit", resolve));
directory.stop();
provider.stop();
if (tally.failed > 0) writeFileSync("target/accounts-box.log", log);
rmSync(dir, { recursive: true, force: true });
process.exitCode = tally.close();
