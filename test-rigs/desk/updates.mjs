// Brings updates in at the desk of a real box: what somebody else signed is refused with its reason, what the publisher signed is
// installed and started by whoever keeps the box running (this walk), and proves itself; one that does not start gives way.
//
//   node updates.mjs --bedside ./target/debug/bedside [--shots DIR]
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Box } from "./box.mjs";
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
const bedside = resolve(flags.bedside);
const update = (...words) =>
  execFileSync(bedside, ["update", ...words], { encoding: "utf8" }).trim();

/** Somebody with keys of their own, in a folder of their own. */
class Publisher {
  constructor(dir) {
    mkdirSync(dir);
    this.dir = dir;
    const [root, release] = ["root.key", "release.key"].map((name) =>
      update("keygen", join(dir, name)),
    );
    const said = ["--root-key", root, "--release-key", release];
    const until = ["--expires", "2040-01-01", "--sign", join(dir, "root.key")];
    update("root", join(dir, "roots"), ...said, ...until);
  }

  /** An update whose program is a script. */
  release(number, script) {
    const names = { x64: "x86_64", arm64: "aarch64", arm: "armv7" };
    const program = join(this.dir, `bedside-${names[process.arch]}`);
    writeFileSync(program, `#!/bin/sh\n${script}\n`);
    const file = join(this.dir, `${number}.update`);
    const said = ["--roots", join(this.dir, "roots"), "--number", `${number}`];
    const until = [
      "--expires",
      "2040-01-01",
      "--sign",
      join(this.dir, "release.key"),
    ];
    update("release", file, ...said, ...until, program);
    return file;
  }
}

const tally = new Tally();
let publisher, stranger;
const box = await Box.start(bedside, (dir) => {
  publisher = new Publisher(join(dir, "publisher"));
  stranger = new Publisher(join(dir, "stranger"));
  return `[update]
root = "${publisher.dir}/roots/1.json"
confirm_after_s = 5
`;
});
const { browser, page, watch, look, shoot } = await open({
  flags,
  origin: box.origin,
  tally,
  prefix: "",
});
// While the box starts anew it is not there.
watch.expect(/ERR_CONNECTION|ERR_HTTP2|ERR_EMPTY|ERR_SOCKET|ERR_NETWORK/);
watch.expect(/status of (401|503).*\/api\/v1\//);

const words = () => page.locator("dl.facts").innerText();
async function install(file, how) {
  await page.getByLabel("The file ending in .update").setInputFiles(file);
  await page.getByRole("button", { name: "Bring it in" }).click();
  await page.getByRole("button", { name: how }).first().click();
  await page
    .locator("dialog[open]")
    .getByRole("button", { name: how })
    .click();
}
/** What a service manager does. */
async function startAgain() {
  await eventually(30_000, "the end of the box", () => {
    return box.process.exitCode !== null;
  });
  must(box.process.exitCode === 0, `it ended with ${box.process.exitCode}`);
  box.begin();
}
const NOW = "Install and start it";

try {
  await enter(page, box.origin, box.code);
  await page.goto(`${box.origin}/updates`);
  await tally.check(
    "what another publisher signed is refused with the reason",
    async () => {
      await install(stranger.release(1, "exit 1"), "Install it for the next");
      await page.getByText("The update was not installed").waitFor();
      await page.getByText(/the signatures are not enough/).waitFor();
      must(!(await words()).includes("Update"), "it was chosen all the same");
    },
  );
  await look("updates-refused", false);
  await tally.check(
    "what the publisher signed is installed, started, and proves itself",
    async () => {
      await install(publisher.release(2, `exec ${bedside} "$@"`), NOW);
      await startAgain();
      await eventually(60_000, "the new program", async () =>
        /release 2.*it proved itself/s.test(await words()),
      );
    },
  );
  await look("updates-installed", false);
  await tally.check(
    "a program that does not start gives way, and the Overview says so",
    async () => {
      await install(publisher.release(3, "exit 1"), NOW);
      await startAgain();
      for (let tries = 0; tries < 4; tries += 1) {
        const ended = await eventually(10_000, "the end of a bad start", () => {
          return box.process.exitCode !== null;
        }).catch(() => false);
        if (!ended) break;
        box.begin();
      }
      await eventually(60_000, "the program before", async () =>
        /release 2/.test(await words()),
      );
      await page.goto(box.origin);
      await page.getByText(/went back from version.*release 3/).first().waitFor();
    },
  );
} catch (fault) {
  await tally.check("the walk reaches its end", () => Promise.reject(fault));
  await shoot("where-it-stopped").catch(() => undefined);
}
await watch.quiet(tally);
await browser.close();
await box.stop();
if (tally.failed > 0) console.log(box.log.slice(-4000));
process.exitCode = tally.close();
