// A browser with one page, for a walk on a box of its own.
import { chromium } from "playwright-core";
import { SIZES, looker } from "./look.mjs";
import { Watch } from "./watch.mjs";

/** `more`: of the context. `shots` and `prefix`: as in look.mjs. */
export async function open({ flags, origin, tally, prefix, more = {} }) {
  const browser = await chromium.launch({
    executablePath: flags.chromium,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic"],
  });
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: SIZES.desktop,
    colorScheme: "light",
    ...more,
  });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  const watch = new Watch(page, origin);
  const pictures = looker({ page, tally, shots: flags.shots, prefix });
  return { browser, context, page, watch, ...pictures };
}
