// Builds the script that the daemon serves, and the licences of what is in it, into a folder.
// The result depends on the sources and the versions in package-lock.json alone.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join, resolve } from "node:path";

import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = process.argv[2];
if (!folder) {
  console.error("usage: node build.mjs FOLDER");
  process.exit(2);
}
const library = join(here, "node_modules/web-vitals");
const { version } = JSON.parse(readFileSync(join(library, "package.json"), "utf8"));

const result = await build({
  entryPoints: [join(here, "src/main.ts")],
  bundle: true,
  write: false,
  format: "iife",
  minify: true,
  // Older browsers would report a syntax error to the page.
  target: ["es2018"],
  charset: "ascii",
  legalComments: "none",
});
const bundle = result.outputFiles[0].text.trim();

// The daemon replaces the first line by its own defaults: see probe-user/src/vitals/script.
const text = `(()=>{const HOSTPROBE_DEFAULTS={};
/*! hostprobe vitals.js, MIT OR Apache-2.0; with web-vitals ${version}, (c) Google LLC, Apache-2.0 */
${bundle}
})();
`;
const notice = `vitals.js contains web-vitals ${version} (https://github.com/GoogleChrome/web-vitals),
bundled and minified, under this licence:

${readFileSync(join(library, "LICENSE"), "utf8").trimStart()}`;

writeFileSync(resolve(folder, "vitals.js"), text);
writeFileSync(resolve(folder, "LICENSE-web-vitals"), notice);
