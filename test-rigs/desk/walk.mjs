// Walks the desk of a running gateway in a real browser: set-up, login, every page, both themes.
//
//   node walk.mjs --base https://localhost:8443 --code CODE [--devices 6] [--shots DIR]
//   node walk.mjs --base URL --login --user anna --password '…'      a gateway that is already set up
//   node walk.mjs … --only overview,languages          some parts of it
//   node walk.mjs --mock --base http://localhost:4180 --code WARD-2026   against web/mock/server.mjs
//
// Prints one line a check, closes with "N passed, M failed", and ends with 0 only when nothing failed.
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { budget } from "./budget.mjs";
import { EnterWalk, PASSWORD, USER } from "./enter.mjs";
import { LanguageWalk } from "./languages.mjs";
import { SIZES, looker } from "./look.mjs";
import { PairWalk } from "./pair.mjs";
import { PeopleWalk } from "./people.mjs";
import { Tally, eventually, must } from "./tally.mjs";
import { Watch, axe } from "./watch.mjs";

const { values: flags } = parseArgs({
  options: {
    base: { type: "string" },
    code: { type: "string", default: "" },
    user: { type: "string", default: USER },
    password: { type: "string", default: PASSWORD },
    login: { type: "boolean", default: false },
    devices: { type: "string", default: "6" },
    "wait-s": { type: "string", default: "60" },
    shots: { type: "string", default: "" },
    mock: { type: "boolean", default: false },
    only: { type: "string", default: "" },
    chromium: {
      type: "string",
      default: process.env.CHROMIUM ?? "/usr/bin/chromium",
    },
  },
});
if (!flags.base || (!flags.code && !flags.login)) {
  console.error(
    "needs --base URL and --code CODE (or --login); the head of walk.mjs tells more",
  );
  process.exit(2);
}

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
];
const STEP_MS = 15_000;

const origin = new URL(flags.base).origin;
const wait_ms = Number(flags["wait-s"]) * 1000;
const tally = new Tally();
const browser = await chromium.launch({
  executablePath: flags.chromium,
  args: ARGS,
});
const context = await browser.newContext({
  ignoreHTTPSErrors: true,
  viewport: SIZES.desktop,
  colorScheme: "light",
});
context.setDefaultTimeout(STEP_MS);
const page = await context.newPage();
const watch = new Watch(page, origin);
const { shoot, look } = looker({ page, tally, shots: flags.shots });

const heading = () => page.locator("h1").first().innerText();
const toPage = async (name) => {
  await page
    .locator("nav[aria-label=Pages]")
    .getByRole("link", { name })
    .click();
  await page.waitForLoadState("domcontentloaded");
};

async function answers() {
  await tally.check(
    "the pages come with a strict content security policy",
    async () => {
      const response = await context.request.get(flags.base);
      const policy = response.headers()["content-security-policy"] ?? "";
      for (const part of [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
      ]) {
        must(policy.includes(part), `no ${part} in “${policy}”`);
      }
      must(!policy.includes("unsafe"), `“unsafe” in ${policy}`);
      must(
        response.headers()["x-content-type-options"] === "nosniff",
        "no nosniff",
      );
    },
  );
  await tally.check("every file served is the one ui.json names", async () => {
    const { sha256 } = await (
      await context.request.get(`${origin}/ui.json`)
    ).json();
    for (const [path, wanted] of Object.entries(sha256)) {
      const bytes = await (
        await context.request.get(`${origin}/${path}`)
      ).body();
      must(
        createHash("sha256").update(bytes).digest("hex") === wanted,
        `${path} differs`,
      );
    }
    must(Object.keys(sha256).length >= 4, "ui.json names too few files");
  });
  await tally.check("nobody reads the overview without a session", async () => {
    const response = await context.request.get(`${origin}/api/v1/overview`);
    must(response.status() === 401, `answered ${response.status()}`);
    must(
      response
        .headers()
        ["content-type"]?.startsWith("application/problem+json"),
      "not a problem document",
    );
  });
}

async function overview(simulated) {
  const wanted = Number(flags.devices);
  await tally.check(`${wanted} devices show values`, () =>
    eventually(wait_ms, `${wanted} devices with a value`, async () => {
      const cards = page
        .locator("article")
        .filter({ has: page.locator(".number") });
      return (await cards.count()) >= wanted;
    }),
  );
  await tally.check(
    "every value has its unit or is text, and none is empty",
    async () => {
      const values = await page
        .locator("article .vital")
        .evaluateAll((vitals) =>
          vitals.map((vital) => ({
            text: vital.innerText,
            number: vital.querySelector(".number")?.textContent,
          })),
        );
      for (const { text, number } of values) {
        must(number === undefined || number.trim() !== "", `empty: ${text}`);
        must(!/undefined|null|NaN/.test(text), `says ${text}`);
      }
      must(values.length >= wanted, `${values.length} values only`);
    },
  );
  await tally.check("ages tick and the page says that it is live", async () => {
    await page.getByText("Live, as of").waitFor();
    const clock = () => page.locator(".clock").innerText();
    const before = await clock();
    await eventually(
      5000,
      "the clock moves",
      async () => (await clock()) !== before,
    );
  });
  await tally.check("the verdict is a sentence", async () =>
    must((await heading()).length > 10, "too short"),
  );
  await look("overview", simulated);
}

async function keyboard() {
  await tally.check(
    "the keyboard alone goes from the top to the messages and back",
    async () => {
      await page.goto(flags.base);
      await page.locator("nav[aria-label=Pages]").waitFor();
      await page.keyboard.press("Tab");
      must(
        (
          await page.evaluate(() => document.activeElement.textContent)
        ).includes("Skip"),
        "the first stop is not the skip link",
      );
      for (let press = 0; press < 20; press += 1) {
        await page.keyboard.press("Tab");
        const { text, outline } = await page.evaluate(() => ({
          text: document.activeElement.textContent.trim(),
          outline: getComputedStyle(document.activeElement).outlineStyle,
        }));
        must(outline !== "none", `no visible focus on “${text}”`);
        if (text.startsWith("Messages")) break;
      }
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Messages", level: 1 }).waitFor();
      await eventually(2000, "the focus is on the heading", () =>
        page.evaluate(() => document.activeElement.tagName === "H1"),
      );
      await page.goBack();
      await page.locator("article").first().waitFor();
    },
  );
}

async function device(simulated) {
  await tally.check("a device opens with values and a trend", async () => {
    await page.locator("article h3 a").first().click();
    await page.locator(".chart canvas").waitFor();
    must(
      new URL(page.url()).searchParams.get("key"),
      "the address names no device",
    );
    await eventually(wait_ms, "points", async () =>
      /lowest/.test(await page.locator(".range").innerText()),
    );
  });
  await tally.check(
    "its last message is shown with the values marked in its bytes",
    async () => {
      await page.getByRole("button", { name: "Show the last message" }).click();
      await page.locator("pre.text mark .says").first().waitFor();
      await page
        .getByRole("button", { name: "Mark values", pressed: true })
        .click();
      must((await page.locator("pre.text mark").count()) === 0, "still marked");
      await page.getByRole("button", { name: "Mark values" }).click();
    },
  );
  await look("device", simulated);
  await tally.check("the trend has a table and can be paused", async () => {
    await page.getByRole("button", { name: "Pause" }).click();
    must(
      (await page.locator(".range").innerText()).includes("paused"),
      "it does not say that it is paused",
    );
    await page.getByRole("button", { name: "Table" }).click();
    must(
      (await page.locator(".rows tbody tr").count()) > 0,
      "the table is empty",
    );
  });
  await look("device-table", simulated);
  await tally.check("a wave is drawn, goes on, and can be held", async () => {
    const known = await context.request.get(`${flags.base}/api/v1/devices`);
    const { devices } = await known.json();
    const called = (word) => devices.find(({ label }) => label.includes(word));
    const { key } = called("OEM III") ?? called("Pulse oximeter");
    await page.goto(`${flags.base}/device?key=${encodeURIComponent(key)}`);
    const until = page.locator(".strips .until");
    await page
      .locator(".strips .chart[aria-label*='seconds: lowest'] canvas")
      .first()
      .waitFor({ timeout: wait_ms });
    const before = await until.innerText();
    await eventually(
      wait_ms,
      "newer samples",
      async () => (await until.innerText()) !== before,
    );
    await page.getByRole("button", { name: "Pause" }).first().click();
    const held = await until.innerText();
    await page.waitForTimeout(2500);
    must((await until.innerText()) === held, "it went on");
  });
  await look("device-waves", simulated);
}

/** The list of devices, the tablet's view of one, and the labels to print. */
async function devices(simulated) {
  await toPage("Devices");
  const rows = () => page.locator("tbody tr").count();
  await tally.check("the devices are listed, searched and sorted", async () => {
    await page.locator("tbody tr").first().waitFor();
    const all = await rows();
    must(all >= Number(flags.devices), `${all} devices`);
    const name = await page.locator("tbody th a").first().innerText();
    await page.getByRole("searchbox").fill(name);
    await eventually(STEP_MS, "fewer rows", async () => (await rows()) < all);
    await page.getByRole("searchbox").fill("");
    await page.getByLabel("Order").selectOption("name");
    const names = await page.locator("tbody th a.tap").allInnerTexts();
    const sorted = [...names].sort((a, b) => a.localeCompare(b));
    must(names.join() === sorted.join(), names.join());
  });
  await look("devices", simulated);
  await tally.check(
    "labels have a code each, and paper has nothing else",
    async () => {
      await page.getByRole("link", { name: "Print labels" }).click();
      await page.locator(".labels svg").first().waitFor();
      await page
        .getByLabel("Beds, one a line")
        .fill("ICU^4^BED-3\nICU^4^BED-4");
      const codes = await page.locator(".labels li svg path").count();
      must(codes >= Number(flags.devices) + 2, `${codes} labels`);
      await page.emulateMedia({ media: "print" });
      for (const gone of ["nav[aria-label=Pages]", "header", "textarea"])
        must(
          !(await page.locator(gone).first().isVisible()),
          `${gone} would be printed`,
        );
      await shoot("labels-paper");
      await page.emulateMedia({ media: "screen" });
    },
  );
  await look("labels", simulated);
  await tally.check(
    "the bedside view says that it is no monitor, and how old each value is",
    async () => {
      await page.goto(`${origin}/bedside`);
      await page.locator(".choice a").first().click();
      await page.getByText("NOT A MONITOR").waitFor();
      await page.locator(".values .number").first().waitFor();
      const ages = await page.locator(".values .age time").count();
      must(
        ages === (await page.locator(".values li").count()),
        "a value without its age",
      );
    },
  );
  await look("bedside", simulated);
}

async function messages(simulated) {
  await toPage("Messages");
  await tally.check(
    "messages are listed, and a filter is in the address and survives a reload",
    async () => {
      await page.locator("tbody tr").first().waitFor();
      await page.getByRole("button", { name: /^Accepted/ }).click();
      await page.waitForURL(/state=accepted/);
      await page.reload();
      await page
        .getByRole("button", { name: /^Accepted/, pressed: true })
        .waitFor();
      await eventually(
        STEP_MS,
        "an accepted entry",
        async () => (await page.locator("tbody tr").count()) > 0,
      );
    },
  );
  await look("messages", simulated);
  await tally.check(
    "an entry opens: bytes, measurements, FHIR, answer, timeline",
    async () => {
      await page.locator("tbody a.open").first().click();
      await page.locator("#timeline li").first().waitFor();
      must((await page.locator("#raw pre").innerText()).length > 3, "no bytes");
      must(
        (await page.locator("#measurements tbody tr").count()) > 0,
        "no measurement",
      );
      must(
        (await page.locator("#fhir details").count()) > 0,
        "no FHIR resource",
      );
      must(
        /HTTP 2\d\d/.test(await page.locator("#answer").innerText()),
        "no answer of 2xx",
      );
      await page.locator("#fhir summary").first().click();
      must(
        /"resourceType"/.test(
          await page.locator("#fhir pre").first().innerText(),
        ),
        "no source of the resource",
      );
      await page.getByRole("button", { name: "Hex" }).click();
      must(
        /^000000 {2}[0-9a-f]{2} /.test(
          await page.locator("#raw pre").innerText(),
        ),
        "no hex",
      );
      await page.getByRole("button", { name: "Text", exact: true }).click();
    },
  );
  await look("entry", simulated);
  await tally.check(
    "a reload of an entry’s address shows the entry",
    async () => {
      const before = await heading();
      await page.reload();
      await page.locator("#timeline li").first().waitFor();
      must((await heading()) === before, `shows ${await heading()}`);
    },
  );
  await tally.check(
    "replay asks first, and the entry is accepted again",
    async () => {
      const steps = () => page.locator("#timeline").innerText();
      const before = await steps();
      await page.getByRole("button", { name: "Replay" }).click();
      await page.locator("dialog[open]").waitFor();
      await axe(page);
      await page
        .locator("dialog[open]")
        .getByRole("button", { name: "Replay" })
        .click();
      await page.getByText("It waits to be sent once more.").waitFor();
      await eventually(
        wait_ms,
        "accepted again, as its timeline tells",
        async () => {
          const state = await page.locator("h1 + .row").innerText();
          return state.includes("Accepted") && (await steps()) !== before;
        },
      );
    },
  );
}

/** An HL7 message shows its segments by name. */
async function segments(simulated) {
  const link = flags.mock ? "monitors" : "icu-monitor";
  await page.goto(`${origin}/messages?link=${link}`);
  await tally.check("an HL7 message shows its segments by name", async () => {
    await page.locator("tbody a.open").first().click();
    const panel = page.locator("#segments");
    await panel.getByText("Message header").waitFor();
    await panel.getByRole("searchbox").fill("PID-3");
    await panel.getByText("Patient identifiers").waitFor();
    must(
      (await panel.locator("summary").count()) === 1,
      "the search leaves other segments",
    );
    await panel.getByRole("searchbox").fill("");
  });
  await look("segments", simulated);
}

async function upstream(simulated) {
  await toPage("Upstream");
  await tally.check("the connection test passes every step", async () => {
    await page.getByRole("button", { name: "Test connection" }).click();
    await page.locator(".tests li").first().waitFor({ timeout: wait_ms });
    const failed = await page.locator(".tests li:not(.ok)").allInnerTexts();
    must(failed.length === 0, failed.join("\n"));
  });
  await tally.check(
    "the public key set is shown and no private part of it",
    async () => {
      const keys = JSON.parse(await page.locator("pre").innerText()).keys;
      must(keys.length > 0, "no key");
      for (const key of keys)
        for (const part of ["d", "p", "q", "k"])
          must(!(part in key), `has the private part ${part}`);
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.getByRole("button", { name: "Download" }).click(),
      ]);
      must(
        download.suggestedFilename().endsWith(".json"),
        "downloads no .json",
      );
    },
  );
  await look("upstream", simulated);
}

async function pairing(simulated) {
  const { mock } = flags;
  await new PairWalk({
    page,
    context,
    tally,
    watch,
    look,
    toPage,
    origin,
    wait_ms,
    mock,
  }).all(simulated);
}

async function people(simulated) {
  const { mock } = flags;
  await new PeopleWalk({
    page,
    context,
    tally,
    watch,
    look,
    toPage,
    origin,
    wait_ms,
    mock,
  }).all(simulated);
}

async function languages() {
  await new LanguageWalk({ page, tally, shoot, origin }).all();
}

async function theRest(simulated) {
  await toPage("Help");
  await look("help", simulated);
  await tally.check(
    "the theme switch goes round: automatic, light, dark",
    async () => {
      const theme = () =>
        page.evaluate(() => document.documentElement.dataset.theme ?? "auto");
      const seen = [await theme()];
      for (let press = 0; press < 3; press += 1) {
        await page.getByRole("button", { name: /^Theme/ }).click();
        seen.push(await theme());
      }
      must(seen.join() === "auto,light,dark,auto", seen.join());
    },
  );
  await tally.check(
    "the licences of the code in the pages are there",
    async () => {
      const text = await (
        await context.request.get(`${origin}/licences.txt`)
      ).text();
      must(
        text.includes("svelte") && text.includes("uplot"),
        "a package is missing",
      );
    },
  );
  await page.goto(`${origin}/no-such-page`);
  await tally.check("an unknown address says so", () =>
    page.getByText("This address leads nowhere").waitFor(),
  );
  if (flags.mock) await stale();
  await tally.check("log-out ends the session", async () => {
    await page.getByRole("button", { name: /^Log out/ }).click();
    await page.getByRole("heading", { name: "Log in" }).waitFor();
    must(
      (await context.request.get(`${origin}/api/v1/session`)).status() === 401,
      "the session still lives",
    );
  });
}

/** Only the mock can cut its own live stream. */
async function stale() {
  await toPage("Overview");
  watch.expect(/\/api\/v1\/live/);
  await tally.check(
    "a broken live stream is told, and the page comes back by itself",
    async () => {
      await context.request.post(`${origin}/mock?live=cut`);
      await page.getByText("Live values stopped").waitFor();
      await shoot("stale-desktop-light");
      await page.getByText("Live, as of").waitFor({ timeout: 60_000 });
      must(
        (await page.getByText("Live values stopped").count()) === 0,
        "the warning stays",
      );
    },
  );
}

try {
  // The mock compresses nothing.
  const kB = flags.mock ? 400 : 200;
  await budget(browser, tally, flags.base, {
    kB,
    ms: 1000,
    shots: flags.shots,
  });
  await answers();
  const setup = await (
    await context.request.get(`${origin}/api/v1/setup`)
  ).json();
  const { user, password } = flags;
  const walk = new EnterWalk({
    page,
    context,
    tally,
    watch,
    look,
    origin,
    user,
    password,
  });
  if (flags.login) await page.goto(flags.base);
  else await walk.setUp(setup, flags.code);
  await walk.logIn(setup);
  // An older gateway cannot record: its device page asks in vain.
  if (
    (await context.request.get(`${origin}/api/v1/recordings`)).status() === 404
  )
    watch.expect(/404.*\/api\/v1\/recordings/);
  const parts = {
    overview,
    keyboard,
    device,
    devices,
    messages,
    segments,
    upstream,
    pairing,
    people,
    languages,
    theRest,
  };
  const wanted = flags.only ? flags.only.split(",") : Object.keys(parts);
  for (const part of wanted) {
    await parts[part](setup.simulated);
    await page.goto(flags.base);
  }
} catch (fault) {
  await tally.check("the walk reaches its end", () => Promise.reject(fault));
  await shoot("where-it-stopped");
}
await watch.quiet(tally);
await browser.close();
process.exitCode = tally.close();
