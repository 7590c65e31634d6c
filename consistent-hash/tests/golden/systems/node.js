// Libraries of npm: `hashring` 3.2.0 and `consistent-hashing` 0.3.0, asked for the owners of the keys given as lines.
//
// `node node.js NAME < cases`, which `node.py` does.
const { createInterface } = require("readline");

const name = process.argv[2];
const Library = require(name);
createInterface({ input: process.stdin }).on("line", (line) => {
  const { servers, options, keys } = JSON.parse(line);
  const ring = name === "hashring" ? new Library(servers, "md5", options) : new Library(servers, options);
  console.log(JSON.stringify(keys.map((key) => (name === "hashring" ? ring.get(key) : ring.getNode(key)))));
});
