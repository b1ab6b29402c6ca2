// Walks what the people who run a box do: set up the FHIR server with a key made here, mend a firmware profile and let go what it
// held, change the key, make a backup and restore it. A box of its own, a device and a SMART server that this walk plays.
//
//   node ops.mjs --bedside ./target/debug/bedside [--shots DIR]
import { parseArgs } from "node:util";
import { Box } from "./box.mjs";
import { open } from "./browser.mjs";
import { HEADERS, enter, logInByCall } from "./enter.mjs";
import { Smart } from "./smart.mjs";
import { Tally, eventually, must } from "./tally.mjs";
import { axe } from "./watch.mjs";

const { values: flags } = parseArgs({
  options: {
    bedside: { type: "string", default: "./target/debug/bedside" },
    shots: { type: "string", default: "" },
    chromium: {
      type: "string",
      default: process.env.CHROMIUM ?? "/usr/bin/chromium",
    },
  },
});
const tally = new Tally();
const smart = await Smart.start();
const box = await Box.start(flags.bedside);
const { browser, context, page, watch, shoot, look } = await open({
  flags,
  origin: box.origin,
  tally,
  prefix: "ops-",
  more: { acceptDownloads: true },
});
// While the box starts anew it is not there, and a refusal on purpose is logged as an error by the browser.
watch.expect(/ERR_CONNECTION|ERR_HTTP2|ERR_EMPTY/);
watch.expect(/status of (401|503).*\/api\/v1\//);

const api = async (method, path, data) => {
  const response = await context.request.fetch(`${box.origin}/api/v1${path}`, {
    method,
    data,
    headers: HEADERS,
  });
  return response;
};
const read = async (path) => (await api("GET", path)).json();
const counts = async () => (await read("/overview")).counts;
const goTo = async (path) => {
  await page.goto(`${box.origin}${path}`);
  await page.locator("h1").first().waitFor();
};

const dialog = () => page.locator("dialog[open]");

async function upstream() {
  await goTo("/upstream");
  await tally.check("a box without a server leads to setting one up", () =>
    page.getByRole("link", { name: "Set it up here" }).click(),
  );
  await page.getByRole("heading", { name: "Set up the FHIR server" }).waitFor();
  await tally.check(
    "what a server can do is found out and shown as a table",
    async () => {
      await page.getByLabel("FHIR base").fill(smart.base);
      await page
        .getByRole("button", { name: "Find out what it can do" })
        .click();
      await page.getByText("It speaks SMART.").waitFor();
      await page.getByRole("cell", { name: "yes" }).first().waitFor();
      await page.getByText("Walk FHIR 1").waitFor();
    },
  );
  await tally.check(
    "a key pair is made on the box and can be registered",
    async () => {
      await page.getByRole("button", { name: "Make the key pair" }).click();
      const set = page.getByRole("region", { name: "Public key set" });
      await set.waitFor();
      const jwks = JSON.parse(await set.innerText());
      must(
        jwks.keys.length === 1 && jwks.keys[0].alg === "ES384",
        "no ES384 key",
      );
      must(!("d" in jwks.keys[0]), "the private half is shown");
      smart.register("walk-box", jwks);
    },
  );
  await page
    .getByLabel("Client id the server’s team gave you")
    .fill("not-this-box");
  await tally.check(
    "a wrong client id stops at the token, in plain words",
    async () => {
      await page.getByRole("button", { name: "Test each step" }).click();
      await page.getByText("It stops at “Token”.").waitFor({ timeout: 40_000 });
      await page.getByText(/check client_id/).waitFor();
    },
  );
  await page
    .getByLabel("Client id the server’s team gave you")
    .fill("walk-box");
  await tally.check(
    "every step of the test passes, a trial write too",
    async () => {
      await page.getByRole("button", { name: "Test each step" }).click();
      await page.getByText("All steps passed").waitFor({ timeout: 40_000 });
      await page.getByText("Trial write ($validate)").waitFor();
    },
  );
  await look("upstream-setup");
  await tally.check(
    "saved, it is in force when the box has started anew",
    async () => {
      await page.getByRole("button", { name: "Save and use" }).click();
      await dialog().getByRole("button", { name: "Save and use" }).click();
      await page.getByText(/^In force since/).waitFor({ timeout: 60_000 });
      must((await read("/upstream")).configured, "there is no upstream");
    },
  );
  await tally.check("what a device says arrives at the server", async () => {
    await box.say([box.line(97, 0), box.line(98, 1)]);
    await eventually(
      30_000,
      "an Observation",
      () => smart.count("Observation") > 0,
    );
  });
  await tally.check(
    "a port where nothing listens is told as that",
    async () => {
      await goTo("/upstream/setup");
      await page.getByLabel("FHIR base").fill("http://127.0.0.1:9/fhir");
      await page.getByRole("button", { name: "Test each step" }).click();
      await page
        .getByText("It stops at “Port (TCP)”.")
        .waitFor({ timeout: 40_000 });
      await page.getByText(/refuses connections/).waitFor();
    },
  );
}

const PROFILE = "/profiles/edit?id=masimo%2Fascii1";
const text = () => page.getByLabel("The page in TOML");

/** Rewrites the page as somebody at the keyboard would: all of it. */
async function write(change) {
  const now = await text().inputValue();
  const next = change(now);
  must(next !== now, "the change changes nothing");
  await text().fill(next);
}

async function save() {
  await page.getByRole("button", { name: "Save and use" }).click();
  await dialog().getByRole("button", { name: "Save and use" }).click();
  await page.getByText(/^In force since/).waitFor();
}

async function profiles() {
  await goTo("/profiles");
  await tally.check("the profiles tell what uses them", async () => {
    await page.getByLabel("Maker or model").fill("masimo");
    await page.getByRole("cell", { name: "bed-1" }).waitFor();
  });
  await look("profiles");
  await goTo(PROFILE);
  await text().waitFor();
  await tally.check(
    "a fault is told with its line and column as one types",
    async () => {
      await write((page) => page.replace('codec = "lines"', 'codec = "linse"'));
      await page
        .getByRole("button", { name: /^Line \d+, column \d+/ })
        .first()
        .waitFor();
      const save = page.getByRole("button", { name: "Save and use" });
      must(await save.isDisabled(), "a page with a fault can be saved");
      await write((page) => page.replace("linse", "lines"));
      await page.getByText(/^No fault/).waitFor();
    },
  );
  await tally.check(
    "what may be written is offered by the schema",
    async () => {
      await text().press("Control+End");
      await text().pressSequentially("\n[[metric]]\nlo");
      const offers = page.getByRole("group", {
        name: "What may be written here",
      });
      await offers.getByRole("button", { name: "loinc" }).first().waitFor();
      await page.getByRole("button", { name: "Undo my changes" }).click();
    },
  );
  await tally.check("a capture says what its golden says", async () => {
    await page
      .getByLabel("On what a device said")
      .selectOption("capture:resting.txt");
    await page
      .getByText("It says what it said when it was reviewed.")
      .waitFor();
  });
  await look("profile-edit");
  await tally.check(
    "a change shows what it does to the capture before it is saved",
    async () => {
      await write((page) =>
        page.replace("accept = '^\\d", "accept = '^NOTHING \\d"),
      );
      await page.getByText(/^It would be held/).waitFor();
      await page
        .getByRole("region", { name: "The golden, and what it says now" })
        .waitFor();
      await shoot("profile-broken-desktop-light");
    },
  );
  await save();
}

/** What the broken page holds is found, the page is mended on it, and it goes. */
async function mend() {
  await tally.check(
    "what nobody can read is held by reason, with the way to its profile",
    async () => {
      await box.say([box.line(95, 10), box.line(94, 11), box.line(93, 12)]);
      await eventually(
        20_000,
        "three held",
        async () => (await counts()).held === 3,
      );
      await goTo("/held");
      await page.getByText("3 entries").first().waitFor();
    },
  );
  await look("held");
  await tally.check(
    "the group leads to the page, and the page to the held entry",
    async () => {
      await page.getByRole("link", { name: "Open masimo/ascii1" }).click();
      await text().waitFor();
      await page.getByText(/^It would be held/).waitFor();
      const on = await page.getByLabel("On what a device said").inputValue();
      must(on.startsWith("entry:"), `it tries ${on}`);
    },
  );
  await tally.check(
    "mended, the held entry reads before anything is saved",
    async () => {
      await write((page) => page.replace("'^NOTHING \\d", "'^\\d"));
      await page.getByText(/values? read\./).waitFor();
      await page.getByRole("cell", { name: "93" }).first().waitFor();
    },
  );
  await shoot("profile-mended-desktop-light");
  await tally.check(
    "saved, the held ones are let go as one frozen set",
    async () => {
      await save();
      const before = smart.count("Observation");
      await page.getByRole("button", { name: "Release them" }).click();
      await dialog().getByText("3 entries, and no others").waitFor();
      await shoot("release-desktop-light");
      await axe(page);
      await dialog().getByRole("button", { name: "Release 3 entries" }).click();
      await dialog().getByText("Released: 3 entries.").waitFor();
      await dialog().getByRole("button", { name: "Close" }).click();
      await eventually(30_000, "all are delivered", async () => {
        const { held, waiting, sent } = await counts();
        return (
          held + waiting + sent === 0 && smart.count("Observation") > before
        );
      });
    },
  );
  await tally.check("what was let go is under the name of its device", async () => {
    await goTo("/messages?span=all");
    await page.locator("tbody tr").first().waitFor();
    const rows = await page.locator("tbody tr").allInnerTexts();
    must(!rows.some((row) => /Unknown device/.test(row)), rows.join("\n"));
    await goTo(PROFILE);
  });
  await tally.check("the page goes back to the shipped one", async () => {
    await page
      .getByRole("button", { name: "Back to the shipped page" })
      .click();
    await dialog().getByRole("button", { name: "Take it back" }).click();
    await page.getByText(/as shipped with this version/).waitFor();
    const [own] = (await read("/profiles")).profiles.filter(
      ({ id }) => id === "masimo/ascii1",
    );
    must(own.source === "shipped", own.source);
  });
  await tally.check("the folder of a profile can be taken out", async () => {
    const response = await api("GET", "/profiles/masimo%2Fascii1/export");
    const bytes = await response.body();
    must(bytes[0] === 0x1f && bytes[1] === 0x8b, "it is no gzip");
  });
}

async function messages() {
  await goTo("/messages?span=all");
  await page.locator("tbody tr").first().waitFor();
  await page.getByText("Search by time, type, number or patient").click();
  await tally.check("a view is saved and found again", async () => {
    await page.getByRole("button", { name: /^Accepted/ }).click();
    await page.getByLabel("Save this list as").fill("All accepted");
    await page.getByRole("button", { name: "Save view" }).click();
    await page.getByText("This is “All accepted”.").waitFor();
    await goTo("/messages");
    await page.getByText("Search by time, type, number or patient").click();
    await page.getByLabel("Saved views").selectOption("All accepted");
    await eventually(5000, "the view's address", () =>
      page.url().includes("state=accepted"),
    );
  });
  await tally.check(
    "a patient’s number is searched for without standing in the address",
    async () => {
      await goTo("/messages?span=all");
      await page.getByText("Search by time, type, number or patient").click();
      await page
        .getByLabel("Patient’s number, or a word in the message")
        .fill("0000093112");
      await page.getByRole("button", { name: "Search", exact: true }).click();
      await page.locator("tbody tr").first().waitFor();
      must(!page.url().includes("93112"), page.url());
      await page
        .getByLabel("Patient’s number, or a word in the message")
        .fill("NOBODY-HAS-THIS");
      await page.getByRole("button", { name: "Search", exact: true }).click();
      await page.getByText("No entry fits this filter").waitFor();
    },
  );
  await goTo("/messages?span=all&state=accepted");
  await page.locator("tbody tr").first().waitFor();
  await page.getByText("Search by time, type, number or patient").click();
  await look("messages");
  await tally.check(
    "a replay is compared with what the server holds",
    async () => {
      await page.locator("tbody tr a.open").first().click();
      await page
        .getByRole("button", { name: "Compare with the server" })
        .click();
      await page.getByText("A replay would change nothing").waitFor();
      const key = [...smart.resources.keys()].findLast((one) =>
        one.startsWith("Observation/"),
      );
      const resource = smart.resources.get(key);
      smart.resources.set(key, { ...resource, status: "entered-in-error" });
      await goTo("/messages?span=all&state=accepted");
      const rows = page.locator("tbody tr a.open");
      await rows.first().click();
      await page
        .getByRole("button", { name: "Compare with the server" })
        .click();
      await page
        .getByText(/would change|would change nothing/)
        .first()
        .waitFor();
      await shoot("compare-desktop-light");
      await axe(page);
    },
  );
}

async function bulk() {
  await tally.check(
    "a large set wants its number typed, and is done with progress",
    async () => {
      const lines = Array.from({ length: 60 }, (_, n) => box.line(90, 100 + n));
      await box.say(lines);
      await eventually(
        30_000,
        "sixty more",
        async () => (await counts()).accepted >= 60,
      );
      await goTo("/messages?span=all&link=bed-1");
      await page
        .getByRole("button", { name: "Send all of these again" })
        .click();
      const number = dialog().getByLabel(/^Type the number of entries/);
      await number.waitFor();
      const does = dialog().getByRole("button", { name: /^Send again/ });
      must(await does.isDisabled(), "it can be done without the number");
      const count = /Send again ([\d\s\u202f]+) entries/.exec(
        await does.innerText(),
      )[1];
      await number.fill("7");
      must(await does.isDisabled(), "a wrong number is taken");
      await number.fill(count.replace(/\D/g, ""));
      await shoot("bulk-desktop-light");
      const before = smart.count("Observation");
      await does.click();
      await dialog()
        .getByText(/^Sent on again/)
        .waitFor({ timeout: 30_000 });
      await dialog().getByRole("button", { name: "Close" }).click();
      await eventually(30_000, "all are delivered again", async () => {
        const { waiting, sent } = await counts();
        return waiting + sent === 0;
      });
      must(smart.count("Observation") === before, "a result is there twice");
    },
  );
}

async function rotate() {
  await goTo("/upstream/setup");
  await page.getByRole("button", { name: "Make a successor" }).waitFor();
  await tally.check(
    "a successor is published beside the key in use",
    async () => {
      await page.getByRole("button", { name: "Make a successor" }).click();
      await page.getByText("Changing the key").waitFor();
      const set = page.getByRole("region", { name: "Public key set" });
      const jwks = JSON.parse(await set.innerText());
      must(jwks.keys.length === 2, `${jwks.keys.length} keys`);
      smart.register("walk-box", jwks);
      smart.next = jwks.keys[1].kid;
    },
  );
  await shoot("upstream-successor-desktop-light");
  await tally.check(
    "changed over, the box signs with the successor and results go on",
    async () => {
      await page
        .getByRole("button", { name: "Change to the successor" })
        .click();
      await dialog().getByRole("button", { name: "Change the key" }).click();
      await page
        .getByText("The box signs with the new key now")
        .waitFor({ timeout: 60_000 });
      smart.forget();
      const before = smart.count("Observation");
      await eventually(30_000, "the device is heard", async () => {
        try {
          await box.say([box.line(96, 300)]);
          return true;
        } catch {
          return false;
        }
      });
      await eventually(
        30_000,
        "another Observation",
        () => smart.count("Observation") > before,
      );
      must(smart.signed.at(-1) === smart.next, "the old key signed");
    },
  );
}

async function backups() {
  await goTo("/backups");
  await tally.check("a backup is made while the box runs", async () => {
    await page.getByRole("button", { name: "Make a backup" }).click();
    await page.getByText(/^The backup is made/).waitFor({ timeout: 30_000 });
  });
  const [backup] = (await read("/backups")).backups;
  await tally.check("it is checked, every frame", async () => {
    await page.getByRole("button", { name: `Check ${backup.name}` }).click();
    await page.getByText(/^Sound:/).waitFor({ timeout: 30_000 });
  });
  await look("backups");
  let bytes;
  await tally.check("it is downloaded whole", async () => {
    const waiting = page.waitForEvent("download");
    await page.getByRole("link", { name: `Download ${backup.name}` }).click();
    const file = await (await waiting).path();
    bytes = (await import("node:fs")).readFileSync(file);
    must(
      bytes.length === backup.bytes,
      `${bytes.length} of ${backup.bytes} bytes`,
    );
  });
  await tally.check("it is brought in again from elsewhere", async () => {
    await page.getByLabel(/^The file ending in/).setInputFiles({
      name: "elsewhere.backup",
      mimeType: "application/octet-stream",
      buffer: bytes,
    });
    await page.getByRole("button", { name: "Bring it in" }).click();
    await page
      .getByText(/^elsewhere.backup is here/)
      .waitFor({ timeout: 30_000 });
  });
  const kept = await counts();
  await tally.check(
    "restored, the box has what it had, and one logs in again",
    async () => {
      await box.say([box.line(91, 400)]);
      await eventually(
        20_000,
        "one more",
        async () => (await counts()).accepted > kept.accepted,
      );
      await page.reload();
      await page
        .getByRole("button", { name: "Restore elsewhere.backup" })
        .click();
      await dialog()
        .getByLabel(/^Type RESTORE/)
        .fill("restore");
      await shoot("restore-desktop-light");
      await dialog().getByRole("button", { name: "Restore" }).click();
      await eventually(60_000, "the box is back", async () => {
        try {
          await logInByCall(context, box.origin);
          const { job } = await read("/backups");
          return job?.kind === "restore" && job.state !== "running" && job;
        } catch {
          return false;
        }
      });
      const { job } = await read("/backups");
      must(job.state === "done", job.detail);
      await goTo("/backups");
      await page.getByText(/^Restored: elsewhere.backup/).waitFor();
      const trail = await counts();
      must(
        trail.accepted + trail.waiting + trail.sent === kept.accepted,
        JSON.stringify(trail),
      );
    },
  );
}

async function rest() {
  for (const [name, path, ready] of [
    ["settings", "/settings", "Time at the site"],
    ["updates", "/updates", "This box looks for no updates by itself"],
    ["templates", "/templates", "Messages that are translated"],
    ["audit", "/audit", "backup"],
    ["certificate", "/certificate", "Fingerprint (SHA-256)"],
    ["reference", "/reference", "/api/v1/overview"],
  ]) {
    await goTo(path);
    await tally.check(`${name}: the page is there`, () =>
      page.getByText(ready).first().waitFor(),
    );
    await look(name);
  }
  await tally.check("a setting says that it stands in the file", async () => {
    await goTo("/settings");
    const row = page.getByRole("row", { name: /site\.zone/ });
    must(
      /Europe\/Berlin.*configuration file/s.test(await row.innerText()),
      await row.innerText(),
    );
  });
}

try {
  await enter(page, box.origin, box.code);
  await upstream();
  await profiles();
  await mend();
  await messages();
  await bulk();
  await rotate();
  await backups();
  await rest();
} catch (fault) {
  await tally.check("the walk reaches its end", () => Promise.reject(fault));
  await shoot("where-it-stopped").catch(() => undefined);
}
await watch.quiet(tally);
await browser.close();
smart.close();
await box.stop();
if (tally.failed > 0) console.log(box.log.slice(-4000));
process.exitCode = tally.close();
