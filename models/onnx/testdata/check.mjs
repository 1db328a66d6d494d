// SPDX-License-Identifier: Apache-2.0

// Runs files of ONNX by onnxruntime-web, without a browser: see `make onnx`.
//
//	node check.mjs FOLDER MODULES
//
// MODULES is a folder in which `npm install onnxruntime-web` has been called. For each FOLDER/*.onnx the outputs for the inputs of the JSON file
// beside it must be those of that file to 1e-4 of the largest.

import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [folder, modules] = process.argv.slice(2);
const ort = createRequire(resolve(modules, "package.json"))("onnxruntime-web");
ort.env.wasm.numThreads = 1;

const files = readdirSync(folder).filter((f) => f.endsWith(".onnx")).sort();
if (files.length === 0) throw new Error("no files");
for (const file of files) {
  const run = JSON.parse(readFileSync(join(folder, file.replace(/onnx$/, "json")), "utf8"));
  const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(join(folder, file))));
  const feeds = {};
  run.Names.forEach((name, i) => (feeds[name] = new ort.Tensor("float32", Float32Array.from(run.Inputs[i]), run.Shapes[i])));
  const results = await session.run(feeds);
  let most = 0, largest = 1;
  session.outputNames.forEach((name, i) => {
    const got = results[name].data;
    if (got.length !== run.Outputs[i].length) throw new Error(`${file}: want ${run.Outputs[i].length} numbers, got ${got.length}`);
    run.Outputs[i].forEach((want, k) => {
      most = Math.max(most, Math.abs(want - got[k]));
      largest = Math.max(largest, Math.abs(want));
    });
  });
  const report = `${file}: outputs of ${largest.toPrecision(2)} at most differ by ${most.toExponential(1)}`;
  if (!(most < 1e-4 * largest)) throw new Error(report);
  console.log(report);
}
console.log("onnxruntime-web", ort.env.versions?.web ?? ort.env.versions?.common);
