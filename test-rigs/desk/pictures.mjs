// Makes the guides' pictures of those a walk took: smaller, the head of each page.
//
//   test-rigs/desk/run                     the walks: target/desk-shots
//   node test-rigs/desk/pictures.mjs       docs/pictures/*.jpg of them
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { must } from "./tally.mjs";

/** Name of the picture, the walk's, and how many of its pixels from the top. */
const PICTURES = [
  ["overview", "overview-desktop-light", 1000],
  ["bedside", "bedside-tablet-light", 640],
  ["conflict", "conflict-desktop-light", 1000],
  ["held", "ops-held-desktop-light", 900],
  ["stranger", "pairing-desktop-light", 1000],
];
const WIDTH = 1000;
const BYTES_MAX = 150_000;

const [shots = "target/desk-shots", into = "docs/pictures"] =
  process.argv.slice(2);
mkdirSync(into, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const page = await browser.newPage();
for (const [name, shot, height] of PICTURES) {
  const source = `data:image/png;base64,${readFileSync(join(shots, `${shot}.png`)).toString("base64")}`;
  await page.setContent(`<body style="margin:0"><img src="${source}">`);
  const img = page.locator("img");
  await img.evaluate((image) => image.decode());
  const real = await img.evaluate(({ naturalWidth, naturalHeight }) => ({
    naturalWidth,
    naturalHeight,
  }));
  const scale = Math.min(1, WIDTH / real.naturalWidth);
  const width = Math.round(real.naturalWidth * scale);
  await img.evaluate((image, width) => (image.width = width), width);
  const shown = Math.round(Math.min(height, real.naturalHeight) * scale);
  await page.setViewportSize({ width, height: shown });
  const path = join(into, `${name}.jpg`);
  writeFileSync(path, await page.screenshot({ type: "jpeg", quality: 72 }));
  const { size } = statSync(path);
  console.log(`${path}: ${width} x ${shown}, ${size} bytes`);
  must(size <= BYTES_MAX, `${path} has more than ${BYTES_MAX} bytes`);
}
await browser.close();
