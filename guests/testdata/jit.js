// Makes V8 compile, deoptimize, collect and compile again, and checks what the
// compiled code computes. It prints NAME=NUMBER lines for ever.
'use strict';
const fs = require('fs');

// Always the same numbers.
let state = 12345;
function random(n) {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return (state >>> 8) % n;
}

function expect(what, got, want) {
  if (got !== want) {
    console.log(`jit: wrong: ${what} is ${got}, want ${want}`);
    process.exit(1);
  }
}

// Code that was never there before: a new function each time, run until it is hot.
function compileFresh(round) {
  const terms = [];
  let want = 0;
  for (let i = 0; i < 8; i++) {
    const c = random(1000);
    terms.push(`((x ${i % 2 ? '+' : '^'} ${c}) & 1023)`);
    want += (i % 2 ? 7 + c : 7 ^ c) & 1023;
  }
  const f = new Function('x', `let s = 0; for (let k = 0; k < 50; k++) s = ${terms.join(' + ')}; return s; // ${round}`);
  for (let i = 0; i < 60; i++) expect('a fresh function', f(7), want);
}

// A function that was compiled for one shape of object and meets others.
function area(o) { return o.w * o.h; }
function deoptimize() {
  for (let i = 0; i < 400; i++) expect('an area', area({ w: i, h: 2 }), 2 * i);
  for (let i = 0; i < 40; i++) expect('an area', area({ h: 0.5, w: i, [`p${i % 7}`]: 1 }), i / 2);
  expect('an area', area({ w: '3', h: 4 }), 12);
}

function floats() {
  let s = 0;
  for (let i = 1; i < 2000; i++) s += Math.sqrt(i) * (i % 3) - s / (i + 1);
  return s;
}

// A WebAssembly module: (func (param i32) (result i32) local.get 0 i32.const C i32.mul).
function wasm(c) {
  const bytes = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0,
    7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 32, 0, 65, c & 63, 108, 11]);
  const f = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports.f;
  for (let i = 0; i < 100; i++) expect('a product', f(i), i * (c & 63));
}

fs.writeFileSync('/tmp/ready', '');
const first = floats();
const garbage = [];
for (let round = 1; ; round++) {
  for (let i = 0; i < 3; i++) compileFresh(round * 100 + i);
  deoptimize();
  wasm(round);
  expect('a sum of floats', floats(), first);
  garbage[round % 50] = Array.from({ length: 300 }, (_, i) => ({ i, s: `${round}:${i}` }));
  expect('a joined string', garbage[round % 50].map((o) => o.s).join('').length > 0, true);
  console.log(`rounds=${round}`);
}
