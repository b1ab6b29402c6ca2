// What the first page costs, as Lighthouse would say it: bytes on the wire, files, paints, when it can be used, how much it moves
// and blocks. Sizes and movement are held; times are told, on this machine and with its processor made four times slower.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must } from "./tally.mjs";

const SLOWER = 4;
/** Layout shift: a fifth of what people do not notice (Core Web Vitals: good up to 0.1). */
const SHIFT_MAX = 0.02;

/** Opens the page with nothing in its cache and gives what it cost. */
async function cold(browser, base, slower) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: slower });
  await page.addInitScript(() => {
    const seen = { largest: 0, shift: 0, blocked: 0 };
    globalThis.costs = seen;
    const watch = (type, take) =>
      new PerformanceObserver((list) =>
        list.getEntries().forEach(take),
      ).observe({ type, buffered: true });
    watch("largest-contentful-paint", (one) => (seen.largest = one.startTime));
    watch("layout-shift", (one) => (seen.shift += one.value));
    watch("longtask", (one) => (seen.blocked += one.duration - 50));
  });
  await page.goto(base);
  await page.locator("h1").first().waitFor();
  await page.waitForTimeout(1000);
  const cost = await page.evaluate(() => {
    const all = [
      ...performance.getEntriesByType("navigation"),
      ...performance.getEntriesByType("resource"),
    ].filter(({ name }) => !name.includes("/api/"));
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    return {
      files: all.length,
      bytes: all.reduce((sum, one) => sum + one.transferSize, 0),
      first_paint_ms: Math.round(paint?.startTime),
      largest_paint_ms: Math.round(globalThis.costs.largest),
      usable_ms: Math.round(
        performance.getEntriesByName("bedside-ready")[0]?.startTime,
      ),
      blocked_ms: Math.round(globalThis.costs.blocked),
      shift: Math.round(globalThis.costs.shift * 1000) / 1000,
    };
  });
  await context.close();
  return cost;
}

/** Holds the first load to `kB` on the wire; the times stand in the output and, where pictures are kept, beside them. */
export async function budget(browser, tally, base, { kB, ms, shots }) {
  const told = {
    here: await cold(browser, base, 1),
    slower: await cold(browser, base, SLOWER),
  };
  for (const [where, cost] of Object.entries(told))
    console.log(
      `      first load, ${where === "here" ? "this machine" : `processor ${SLOWER} times slower`}: ${(cost.bytes / 1000).toFixed(1)} kB in ${cost.files} files, painted after ${cost.first_paint_ms} ms (largest ${cost.largest_paint_ms}), usable after ${cost.usable_ms} ms (aim ${ms}), blocked for ${cost.blocked_ms} ms, shift ${cost.shift}`,
    );
  if (shots) {
    mkdirSync(shots, { recursive: true });
    writeFileSync(join(shots, "budget.json"), JSON.stringify(told, null, 2));
  }
  await tally.check(`the first load is at most ${kB} kB`, () => {
    const size = told.here.bytes / 1000;
    must(size > 0 && size <= kB, `${size} kB`);
  });
  await tally.check("the first page says when it can be used", () =>
    must(told.here.usable_ms > 0, "the mark bedside-ready is not there"),
  );
  await tally.check(`the first page moves by at most ${SHIFT_MAX}`, () => {
    for (const { shift } of Object.values(told))
      must(shift <= SHIFT_MAX, `moves by ${shift}`);
  });
}
