// Lints the description of the API by Redocly's recommended rules. Warnings count.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createConfig, formatProblems, getTotals, lint } from '@redocly/openapi-core';

const config = await createConfig({
  extends: ['recommended'],
  rules: {
    // The gateway is wherever its clinic put it.
    'no-server-example.com': 'off',
    // `{id}` is a number, so no fixed segment beside it is ever taken for one.
    'no-ambiguous-paths': 'off',
    // It does not look at the types of events; a test beside the routes does.
    'no-unused-components': 'off',
    // Below: where a browser is sent on, that is the good answer.
    'operation-2xx-response': 'off',
  },
});
const ref = fileURLToPath(new URL('../openapi.json', import.meta.url));
const problems = await lint({ ref, config });
const totals = getTotals(problems);
const { paths } = JSON.parse(readFileSync(ref, 'utf8'));
for (const [path, operations] of Object.entries(paths)) {
  for (const [method, { responses }] of Object.entries(operations)) {
    if (Object.keys(responses).some((status) => /^2..$|^303$/.test(status))) continue;
    console.log(`${method} ${path} has no good answer`);
    totals.errors += 1;
  }
}
if (problems.length > 0) formatProblems(problems, { format: 'stylish', totals, version: '' });
console.log(`openapi.json: ${totals.errors} errors, ${totals.warnings} warnings`);
process.exitCode = totals.errors + totals.warnings > 0 ? 1 : 0;
