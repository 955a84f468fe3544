// A bilinear layer in JavaScript, its tensor and its gradient; the end answers test vectors.
//
//     y = w_out (a * b) + b_out + w_skip x,   a = w_left x + b_left,   b = w_right x + b_right
//
//     node bilinear.mjs core.json > results.json
//
// An array is { shape, data } with data in C order. An absent parameter is undefined.
import { readFileSync } from "node:fs";

const sum = (size, term) => {
  let total = 0;
  for (let k = 0; k < size; k++) total += term(k);
  return total;
};
const range = (size) => [...Array(size).keys()];
const fill = ([rows, columns], f) =>
  columns === undefined
    ? { shape: [rows], data: range(rows).map((r) => f(r)) }
    : { shape: [rows, columns], data: range(rows).flatMap((r) => range(columns).map((c) => f(r, c))) };
const at = (array, r, c) => array.data[r * array.shape[1] + c];
const entry = (bias, r) => (bias ? bias.data[r] : 0);
const affine = (w, b, x) => // row n is w x[n] + b
  fill([x.shape[0], w.shape[0]], (n, r) =>
    sum(x.shape[1], (i) => at(w, r, i) * at(x, n, i)) + entry(b, r));
const outer = (p, q) => // sum over n of p[n] q[n] transposed
  fill([p.shape[1], q.shape[1]], (r, c) => sum(p.shape[0], (n) => at(p, n, r) * at(q, n, c)));
const product = (p, q) => ({ shape: p.shape, data: p.data.map((_, k) => p.data[k] * q.data[k]) });
const columnSums = (p) => fill([p.shape[1]], (c) => sum(p.shape[0], (n) => at(p, n, c)));

const factors = ({ w_left, w_right, b_left, b_right, x }) =>
  [affine(w_left, b_left, x), affine(w_right, b_right, x)];

function forward(layer) {
  const { w_out, b_out, w_skip, x } = layer;
  const ab = product(...factors(layer));
  const straight = w_out ? affine(w_out, undefined, ab) : ab;
  const skip = w_skip && affine(w_skip, undefined, x);
  return { y: fill(straight.shape, (n, o) =>
    at(straight, n, o) + entry(b_out, o) + (skip ? at(skip, n, o) : 0)) };
}

// tensor[o, i, j] = sum over h of w_out[o, h] (left[h, i] right[h, j] + left[h, j] right[h, i]) / 2
// for j <= i; with a bias or a skip path over [x; 1], where left is [w_left, b_left].
function tensor({ w_left, w_right, w_out, b_left, b_right, b_out, w_skip }) {
  const [d_hidden, d_in] = w_left.shape;
  const d = d_in + (b_left || b_right || b_out || w_skip ? 1 : 0);
  const left = (h, i) => (i < d_in ? at(w_left, h, i) : entry(b_left, h));
  const right = (h, i) => (i < d_in ? at(w_right, h, i) : entry(b_right, h));
  const pair = (h, i, j) => (left(h, i) * right(h, j) + left(h, j) * right(h, i)) / 2;
  const pairs = range(d).flatMap((i) => range(i + 1).map((j) => [i, j]));
  return { tensor: fill([w_out ? w_out.shape[0] : d_hidden, pairs.length], (o, p) => {
    const [i, j] = pairs[p];
    const quadratic = w_out ? sum(d_hidden, (h) => at(w_out, o, h) * pair(h, i, j)) : pair(o, i, j);
    const linear = w_skip && i === d_in && j < d_in ? at(w_skip, o, j) / 2 : 0;
    return quadratic + linear + (j === d_in ? entry(b_out, o) : 0);
  }) };
}

function backward(layer) { // s = w_out transposed, dy;  da = s b,  db = s a
  const { w_left, w_right, w_out, w_skip, x, dy } = layer;
  const [a, b] = factors(layer);
  const transposed = (n, h) => sum(dy.shape[1], (o) => at(w_out, o, h) * at(dy, n, o));
  const s = w_out ? fill(a.shape, transposed) : dy;
  const da = product(s, b), db = product(s, a);
  const gradients = {
    w_left: () => outer(da, x), w_right: () => outer(db, x),
    b_left: () => columnSums(da), b_right: () => columnSums(db),
    w_out: () => outer(dy, product(a, b)), b_out: () => columnSums(dy),
    w_skip: () => outer(dy, x),
    x: () => fill(x.shape, (n, i) =>
      sum(a.shape[1], (h) => at(da, n, h) * at(w_left, h, i) + at(db, n, h) * at(w_right, h, i)) +
      (w_skip ? sum(dy.shape[1], (o) => at(w_skip, o, i) * at(dy, n, o)) : 0)),
  };
  const there = Object.keys(gradients).filter((name) => layer[name]);
  return Object.fromEntries(there.map((name) => [name, gradients[name]()]));
}

function squared_error({ y, t }) { // the mean over examples, not over outputs
  const n = y.shape[0], difference = fill(y.shape, (r, c) => at(y, r, c) - at(t, r, c));
  return {
    value: { shape: [], data: [sum(y.data.length, (k) => difference.data[k] ** 2) / n] },
    dy: { shape: y.shape, data: difference.data.map((d) => (2 * d) / n) },
  };
}

// ---- test vectors

function number(v) { // an integer, or a string: a hexadecimal float, nan, inf or -inf
  if (typeof v === "number") return v;
  const m = /^(-?)0x([01])\.?([0-9a-f]*)p([+-]\d+)$/.exec(v);
  if (!m) return { nan: NaN, inf: Infinity, "-inf": -Infinity }[v];
  let value = parseInt(m[2] + m[3], 16), power = Number(m[4]) - 4 * m[3].length;
  for (; power < -1000; power += 500) value *= 2 ** -500; // 2 ** power alone would underflow
  return (m[1] ? -1 : 1) * value * 2 ** power;
}

const mapped = (object, f) => Object.fromEntries(Object.entries(object).map(([k, v]) => [k, f(v)]));
const read = ({ shape, data }) => ({ shape, data: data.map(number) });
const word = (v) => (Number.isFinite(v) ? v : String(v).replace("NaN", "nan").replace("Infinity", "inf"));
const written = ({ shape, data }) => ({ dtype: "f64", shape, data: data.map(word) });

const operations = { forward, tensor, backward, squared_error };
const { groups } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const answer = (op, inputs) => mapped(operations[op](mapped(inputs, read)), written);
const results = groups.filter(({ op }) => op in operations).flatMap(({ op, tests }) =>
  tests.map(({ tcId, inputs }) => ({ tcId, outputs: answer(op, inputs) })));
console.log(JSON.stringify({ schema: "refbilinear-results-1", results }));
