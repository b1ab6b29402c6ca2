// Sends the desk of a real box what somebody would who wants a script to run at a nurse's browser, and looks at every page that
// shows it: the text is there as text, no dialog opens, nothing is fetched, the browser's own policy had nothing to stop.
//
//   node attack.mjs --bedside target/debug/bedside [--chromium /usr/bin/chromium]
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { free } from "./box.mjs";
import { enter } from "./enter.mjs";
import { Tally, eventually, must } from "./tally.mjs";
import { Watch } from "./watch.mjs";

const { values: flags } = parseArgs({
  options: {
    bedside: { type: "string", default: "target/debug/bedside" },
    chromium: {
      type: "string",
      default: process.env.CHROMIUM ?? "/usr/bin/chromium",
    },
  },
});
const PAGES = [
  "/",
  "/devices",
  "/messages",
  "/held",
  "/patients",
  "/patients/people",
  "/pairing",
  "/pairing/new",
  "/worklist",
  "/upstream",
  "/upstream/setup",
  "/routes",
  "/profiles",
  "/profiles/edit?id=ihe%2Fpcd01-monitor",
  "/templates",
  "/audit",
  "/certificate",
  "/backups",
  "/settings",
  "/updates",
  "/reference",
  "/help",
  "/labels",
  "/bedside",
];
const WAIT_MS = 30_000;
/** Names, an observation's text, an identifier: each would run something if it were ever taken for markup. */
const HARM = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(2)>",
  "<svg/onload=alert(3)>",
  '"><iframe srcdoc="<script>alert(4)</script>">',
  "javascript:alert(5)",
  "{{constructor.constructor('alert(6)')()}}",
  "‮gnp.exe",
];


/** A message whose PID-5 and OBX-5 hold `text`; HL7's own delimiters are escaped, as a sender does. */
function message(at, text) {
  const field = text.replace(
    /[\\|^~&]/g,
    (c) =>
      ({ "\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\" })[
        c
      ],
  );
  const time = `202603140830${String(at).padStart(2, "0")}+0000`;
  return [
    `MSH|^~\\&|RIG^0123456789ABCDEF^EUI-64|W|||${time}||ORU^R01^ORU_R01|X${at}|P|2.6||||||UNICODE UTF-8`,
    `PID|||MRN-${at}^^^Rig^MR||${field}^${field}||19800102|F`,
    `OBR|1|||182777000^monitoring of patient^SCT|||${time}`,
    `OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|7${at}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F`,
    `OBX|2|ST|4711^${field}^99RIG|1.1.1.2|${field}||||||F`,
    "",
  ].join("\r");
}

function send(port, text) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () =>
      socket.write(`\x0b${text}\x1c\r`),
    );
    socket.setTimeout(WAIT_MS, () => reject(new Error("no acknowledgement")));
    socket.on("error", reject);
    socket.on("data", (bytes) => {
      socket.end();
      resolve(bytes.toString());
    });
  });
}

const tally = new Tally();
const dir = mkdtempSync(join(tmpdir(), "bedside-attack-"));
const [desk, mllp] = [await free(), await free()];
const origin = `https://127.0.0.1:${desk}`;
writeFileSync(
  join(dir, "bedside.toml"),
  `secrets = "${dir}/secrets"
[site]
name = "<script>alert('site')</script>"
[buffer]
dir = "${dir}/data"
[access]
second_factor = []
[desk]
listen = "127.0.0.1:${desk}"
[[link]]
name = "<b onclick=alert('link')>ward</b>"
profile = "ihe/pcd01-monitor"
mllp = { listen = "127.0.0.1:${mllp}" }
[[link]]
name = "his"
profile = "hl7-system"
mllp = { listen = "127.0.0.1:${await free()}" }
`,
);
let log = "";
const box = spawn(flags.bedside, ["run", "--config", join(dir, "bedside.toml")]);
for (const stream of [box.stdout, box.stderr])
  stream.on("data", (bytes) => (log += bytes));
const code = await eventually(
  WAIT_MS,
  "the set-up code",
  () =>
    /One-time set-up code for the first account: (\S+)/.exec(log)?.[1] ?? null,
);

const browser = await chromium.launch({
  executablePath: flags.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run"],
});
try {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const watch = new Watch(page, origin);
  watch.expect(/status of 40[14]/);
  const dialogs = [];
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  await enter(page, origin, code);
  for (const [at, text] of HARM.entries()) {
    const answer = await send(mllp, message(at, text));
    must(/MSA\|AA/.test(answer), answer);
  }
  const entries = await eventually(WAIT_MS, "every message is read", async () => {
    const got = await context.request.get(`${origin}/api/v1/entries?limit=50`);
    const { entries: all } = await got.json();
    return all.length === HARM.length && all.every(({ summary }) => summary)
      ? all
      : null;
  });

  /** Everything a reader can open on the page is opened. */
  async function unfold() {
    for (const summary of await page.locator("main summary").all())
      await summary.click({ timeout: 2_000 }).catch(() => {});
    for (const tab of await page.locator("main [role=tab]").all())
      await tab.click({ timeout: 2_000 }).catch(() => {});
  }
  async function calm(name) {
    await tally.check(`${name}: nothing ran`, async () => {
      // Behind the log-in, where there is something to see.
      await page.locator("nav[aria-label=Pages], .choice").first().waitFor();
      await page.waitForTimeout(400);
      await unfold();
      await page.waitForTimeout(200);
      must(dialogs.length === 0, `a dialog said ${dialogs}`);
      must(watch.errors.length === 0, watch.errors.join("\n"));
      must(watch.strangers.length === 0, watch.strangers.join("\n"));
      const planted = await page
        .locator("main :is(script, iframe, svg[onload], [onerror], [onclick])")
        .count();
      must(planted === 0, `${planted} planted elements`);
    });
  }

  for (const path of PAGES) {
    await page.goto(origin + path);
    await calm(path);
  }
  for (const [at, { id }] of entries.toReversed().entries()) {
    await page.goto(`${origin}/messages/${id}`);
    await page.locator("h1").waitFor();
    await calm(`message ${at}`);
    await tally.check(`message ${at}: its text is shown as text`, async () => {
      const shown = await page.locator("main").innerText();
      const told = HARM[at].replace(/[‮]/g, "").slice(0, 12);
      must(shown.includes(told), `“${told}” is not on the page`);
    });
  }
  const overview = await context.request.get(`${origin}/api/v1/overview`);
  const { devices } = await overview.json();
  for (const { key } of devices.slice(0, 3)) {
    await page.goto(`${origin}/device?key=${encodeURIComponent(key)}`);
    await calm("a device");
  }
} finally {
  await browser.close();
  box.kill("SIGINT");
  await new Promise((resolve) => box.on("exit", resolve));
  rmSync(dir, { recursive: true, force: true });
}
process.exit(tally.close());
