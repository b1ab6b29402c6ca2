// Pairs a simulated device of each transport at the desk of a real box, as a person does: by the wizard, from the way it talks
// to its first values; then looks for all of them on the pages that tell of devices.
//
//   node transports.mjs --bedside ./target/debug/bedside [--shots DIR]
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Box, free } from "./box.mjs";
import { open } from "./browser.mjs";
import { enter } from "./enter.mjs";
import { Tally, eventually, must } from "./tally.mjs";

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
const WAIT_MS = 60_000;
const SECRET = "walk-kit";

const tally = new Tally();
const broker = await free();
const box = await Box.start(flags.bedside, (dir) => {
  mkdirSync(join(dir, "secrets"), { mode: 0o700 });
  writeFileSync(join(dir, "secrets", SECRET), "a word of the walk", {
    mode: 0o600,
  });
  return `[broker]
listen = "127.0.0.1:${broker}"
[[broker.users]]
name = "kit"
password_secret = "${SECRET}"
`;
});
const { browser, page, watch, shoot, look } = await open({
  flags,
  origin: box.origin,
  tally,
  prefix: "pair-",
});

/** Devices that speak; they end with the walk. */
const devices = [];
function simulate(profile, ...where) {
  const device = spawn(flags.bedside, ["simulate", profile, ...where], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  device.said = "";
  device.stderr.on("data", (text) => (device.said += text));
  devices.push(device);
}

const next = () => page.getByRole("button", { name: "Next" }).click();

async function begin(way) {
  await page.goto(`${box.origin}/pairing/new?step=1`);
  await page.getByRole("button", { name: way }).click();
  await page.getByRole("heading", { name: /Step 2 of 5/ }).waitFor();
}

async function pick(words, name) {
  await page.getByLabel("Find the device by maker or model").fill(words);
  await page.getByRole("radio", { name }).first().check();
}

/** From the third step to the first values. `speak` is called when the link waits. */
async function finish(place, speak, value) {
  await page.getByLabel("Where does it stand?").fill(place);
  await page.getByLabel("Name of the link").fill(place);
  await next();
  await page.getByRole("button", { name: "Make the link" }).click();
  await page
    .getByText(/waits for the device’s first message|The first message is here/)
    .first()
    .waitFor();
  speak?.();
  const row = page
    .locator("section.step tbody tr")
    .filter({ hasText: value })
    .first();
  await row.waitFor({ timeout: WAIT_MS });
  must(/\d/.test(await row.innerText()), await row.innerText());
}

async function serial() {
  const port = join(box.dir, "oximeter");
  simulate("masimo/ascii1", "--pty", port);
  await tally.check(
    "a serial device on a port by its path is listened to and recognised",
    async () => {
      await begin(/^Serial port/);
      await page.getByText("A port that is not listed").click();
      await page.getByLabel("Its whole path on this gateway").fill(port);
      await page
        .getByLabel("Device, if you know it")
        .selectOption("masimo/ascii1");
      await page.getByRole("button", { name: /^Listen/ }).click();
      const found = page.locator(".found").first();
      await found
        .locator("tbody tr", { hasText: "SpO2" })
        .waitFor({ timeout: WAIT_MS });
      await found.getByText("Recognised").waitFor();
    },
  );
  await look("serial-found");
  await tally.check("serial: its link shows its values", async () => {
    await page.getByRole("button", { name: /^Use Masimo/ }).click();
    await finish("Walk serial", undefined, "SpO2");
  });
}

async function tcp() {
  const port = String(await free());
  await tally.check("TCP: an analyser that dials shows its values", async () => {
    await begin(/^Network/);
    await pick("sysmex", /Sysmex.*XN/);
    await page.getByLabel("Port", { exact: true }).fill(port);
    await next();
    const speak = () => simulate("sysmex/xn", "--tcp", `127.0.0.1:${port}`);
    await finish("Walk TCP", speak, /Haemoglobin|Hemoglobin|HGB/i);
  });
  await look("tcp-values");
}

async function mllp() {
  const port = String(await free());
  await tally.check(
    "MLLP: a monitor that dials shows its values",
    async () => {
      await begin(/^Network/);
      await pick("pcd-01", /IHE/);
      await page.getByLabel("Port", { exact: true }).fill(port);
      await next();
      const speak = () =>
        simulate("ihe/pcd01-monitor", "--tcp", `127.0.0.1:${port}`);
      await finish("Walk MLLP", speak, "Heart rate");
    },
  );
}

async function mqtt() {
  await tally.check(
    "MQTT: a kit that publishes to the box’s own broker shows its values",
    async () => {
      await begin(/^MQTT/);
      await pick("kati", /kati/i);
      await page
        .getByRole("radio", { name: /^The one in this gateway/ })
        .check();
      await next();
      const speak = () =>
        simulate(
          "kati/watch",
          "--mqtt",
          `127.0.0.1:${broker}`,
          "--user",
          "kit",
          "--password-secret",
          SECRET,
          "--folder",
          join(box.dir, "secrets"),
        );
      await finish("Walk MQTT", speak, /heart|pulse|SpO2|temperature/i);
    },
  );
  await look("mqtt-values");
}

const LINKS = ["Walk serial", "Walk TCP", "Walk MLLP", "Walk MQTT"];

async function everywhere() {
  await tally.check("all four stand in the list as made at the desk", async () => {
    await page.getByRole("link", { name: "Done" }).click();
    for (const name of LINKS) {
      const row = page.locator("tr", { hasText: name });
      must(
        (await row.innerText()).includes("at the desk"),
        await row.innerText(),
      );
    }
  });
  await look("pairing");
  await tally.check("all four are devices, with since when", async () => {
    await page.goto(`${box.origin}/devices`);
    await eventually(WAIT_MS, "four devices", async () => {
      const rows = await page.locator("tbody tr").allInnerTexts();
      return LINKS.every((name) => rows.some((row) => row.includes(name)));
    });
    await page.getByRole("columnheader", { name: "First seen" }).waitFor();
    await eventually(WAIT_MS, "each is known", async () => {
      const since = await page.locator("tbody td.when.wide").allInnerTexts();
      return since.length >= 4 && since.every((text) => /ago/.test(text));
    });
  });
  await look("devices");
  await tally.check(
    "the last 24 hours have a strip for each link, the same in words",
    async () => {
      await page.goto(box.origin);
      for (const name of LINKS) {
        const strip = page.getByRole("img", {
          name: new RegExp(`^${name}, the last 24 hours: \\d+ entr`),
        });
        await strip.waitFor();
        must(
          (await strip.locator("path.bars").getAttribute("d")) !== "",
          `${name} has no bar`,
        );
      }
      const silent = page.getByRole("img", {
        name: "bed-1, the last 24 hours: no entry",
      });
      await silent.waitFor();
    },
  );
  await look("overview");
}

try {
  await enter(page, box.origin, box.code);
  await serial();
  await tcp();
  await mllp();
  await mqtt();
  await everywhere();
} catch (fault) {
  await tally.check("the walk reaches its end", () => Promise.reject(fault));
  await shoot("where-it-stopped").catch(() => undefined);
}
await watch.quiet(tally);
await browser.close();
for (const device of devices) device.kill("SIGINT");
await box.stop();
if (tally.failed > 0) {
  for (const { spawnargs, said } of devices)
    console.log(`${spawnargs.join(" ")}\n${said.slice(-600)}`);
  console.log(box.log.slice(-4000));
}
process.exitCode = tally.close();
